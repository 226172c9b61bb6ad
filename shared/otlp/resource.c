// resource.c - a Resource's attributes as labels, which identify the process. An unknown way of naming
// is an error, as its profiles would end up in a series without a name.
#include "shared/otlp/attributes.h"
#include "shared/otlp/decoder.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int read_label_key(struct spy_otlp_decoder *c, const Spy__Otlp__KeyValue *kv,
                          const char **ret)
{
    const char *indexed = kv->key_strindex ? spy_otlp_text(c, kv->key_strindex) : "";
    if (!indexed)
        return spy_otlp_bad(c, "the key index of a resource's attribute is out of range");
    *ret = *kv->key ? kv->key : indexed;
    if (!**ret)
        return spy_otlp_bad(c, "an attribute of a resource has no key");
    if (*kv->key && kv->key_strindex && strcmp(kv->key, indexed) != 0)
        return spy_otlp_bad(c, "an attribute of a resource has two keys");
    return 0;
}

// Newer fields may hold the process's name.
static bool is_unknown(const Spy__Otlp__KeyValue *kv)
{
    return kv->base.n_unknown_fields || (kv->value && kv->value->base.n_unknown_fields);
}

// *ret is NULL for a list, a map, bytes, or no value.
static int read_label_value(struct spy_otlp_decoder *c, const Spy__Otlp__AnyValue *v,
                            struct spy_arena *arena, const char **ret)
{
    enum { SIZE = 32 };
    int r = spy_otlp_string_value(c, v, ret);
    bool real = v->value_case == SPY__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE;
    if (r < 0 || *ret ||
        (!real && v->value_case != SPY__OTLP__ANY_VALUE__VALUE_BOOL_VALUE &&
         v->value_case != SPY__OTLP__ANY_VALUE__VALUE_INT_VALUE))
        return r;
    char *text = spy_arena_alloc(arena, SIZE);
    if (!text)
        return spy_err_set(c->err, SPY_ERR_LIMIT, 0, "the request takes too much memory to decode");
    if (real)
        snprintf(text, SIZE, "%g", v->double_value);
    else
        snprintf(text, SIZE, "%" PRId64, spy_otlp_number(v));
    *ret = text;
    return 0;
}

static const char *find_label(const struct spy_otlp_labels *l, const char *key)
{
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->rows[i].key, key))
            return l->rows[i].value;
    return NULL;
}

static void keep_label(struct spy_otlp_labels *l, const char *key, const char *value)
{
    l->steps += 1 + (strlen(key) + strlen(value)) / SPY_OTLP_STEP_BYTES;
    l->rows[l->n].key = key;
    l->rows[l->n++].value = value;
}

static int add_resource_attribute(struct spy_otlp_decoder *c, const Spy__Otlp__KeyValue *kv,
                                  struct spy_arena *arena, struct spy_otlp_labels *to)
{
    const char *key = "", *value = NULL;
    if (is_unknown(kv))
        return spy_otlp_bad(c, "an attribute of a resource is given in a way that is not known "
                               "here: a newer OTLP than this collector");
    int r = read_label_key(c, kv, &key);
    if (r == 0 && kv->value)
        r = read_label_value(c, kv->value, arena, &value);
    if (r == 0 && value && !find_label(to, key)) // the first value of a repeated key counts
        keep_label(to, key, value);
    return r;
}

// Uses the executable's name for a process without a better name.
static void name_process(struct spy_otlp_labels *l)
{
    const char *name = find_label(l, SPY_ATTR_EXE_NAME);
    if (!name || !*name)
        name = find_label(l, SPY_ATTR_EXE_PATH);
    if (name && *name && l->n < SPY_LABELS_MAX && !find_label(l, SPY_LABEL_SERVICE) &&
        !find_label(l, SPY_LABEL_COMMAND))
        keep_label(l, SPY_LABEL_COMMAND, name);
}

int spy_otlp_labels(struct spy_otlp_decoder *c, const Spy__Otlp__Resource *resource,
                    struct spy_arena *arena, struct spy_otlp_labels *ret)
{
    size_t n = resource ? resource->n_attributes : 0;
    bool named = false;
    ret->n = 0;
    ret->steps = 0;
    if (n > SPY_LABELS_MAX)
        return spy_err_set(c->err, SPY_ERR_INVALID, 0,
                           "a resource has %zu attributes; at most %d are accepted", n,
                           SPY_LABELS_MAX);
    for (size_t i = 0; i < n; i++) {
        int r = add_resource_attribute(c, resource->attributes[i], arena, ret);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < ret->n; i++)
        named = named || *ret->rows[i].value;
    if (!named)
        return spy_err_set(c->err, SPY_ERR_INVALID, 0,
                           "a resource has no attributes: nothing says whose profiles these are");
    name_process(ret);
    return 0;
}
