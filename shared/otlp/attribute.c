// attribute.c - the attributes of a dictionary. Each is read once, on first reference.
#include "shared/otlp/decoder.h"
#include <stdlib.h>

int spy_otlp_string_value(struct spy_otlp_decoder *c, const Spy__Otlp__AnyValue *v,
                          const char **ret)
{
    const char *text = NULL;
    if (v->value_case == SPY__OTLP__ANY_VALUE__VALUE_STRING_VALUE)
        text = v->string_value;
    if (v->value_case == SPY__OTLP__ANY_VALUE__VALUE_STRING_VALUE_STRINDEX) {
        text = spy_otlp_text(c, v->string_value_strindex);
        if (!text)
            return spy_otlp_bad(c, "the string index of a value is out of range");
    }
    *ret = text;
    return 0;
}

int64_t spy_otlp_number(const Spy__Otlp__AnyValue *v)
{
    if (v->value_case == SPY__OTLP__ANY_VALUE__VALUE_BOOL_VALUE)
        return v->bool_value;
    return v->value_case == SPY__OTLP__ANY_VALUE__VALUE_INT_VALUE ? v->int_value : 0;
}

static int read_attribute_value(struct spy_otlp_decoder *c, const Spy__Otlp__AnyValue *v,
                                struct spy_otlp_attribute *to)
{
    const char *text = NULL;
    int r = spy_otlp_string_value(c, v, &text);
    if (r < 0)
        return r;
    to->has_value = true;
    to->text = text ? text : "";
    to->number = text ? strtoll(text, NULL, 10) : spy_otlp_number(v);
    return 0;
}

int spy_otlp_attribute(struct spy_otlp_decoder *c, int32_t index, struct spy_otlp_attribute **ret)
{
    if (index < 0 || (size_t)index >= c->d->n_attribute_table)
        return spy_otlp_bad(c, "an attribute index is out of range");
    struct spy_otlp_attribute *a = &c->attributes[index];
    if (!a->is_read) {
        const Spy__Otlp__KeyValueAndUnit *kv = c->d->attribute_table[index];
        a->key = spy_otlp_text(c, kv->key_strindex);
        a->text = "";
        if (!a->key)
            return spy_otlp_bad(c, "the key of an attribute is out of range");
        int r = kv->value ? read_attribute_value(c, kv->value, a) : 0;
        if (r < 0)
            return r;
        a->is_read = true;
    }
    *ret = a;
    return 0;
}

int spy_otlp_attribute_string(struct spy_otlp_decoder *c, struct spy_otlp_attribute *a,
                              uint32_t *ret)
{
    if (a->string.profile != c->number) {
        int r = spy_otlp_intern(c, a->text, ret);
        if (r < 0)
            return r;
        a->string = (struct spy_otlp_memo){c->number, *ret};
    }
    *ret = a->string.id;
    return 0;
}
