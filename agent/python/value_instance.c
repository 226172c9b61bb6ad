#include "agent/python/value_inside.h"
#include <stdio.h>
#include <string.h>

// --- classes ---

static void put_part(struct spy_py_values *v, uint64_t dict, const char *key, char *out,
                     size_t size)
{
    uint64_t text;
    out[0] = 0;
    if (spy_value_find_key(v, dict, key, &text) == 0)
        spy_value_peek_text(v, text, out, size);
}

// The module and the qualified name of a class of Python code; "" where that is not known.
static void find_class_name(struct spy_py_values *v, const struct spy_value_type *type,
                            char *module, char *name, size_t size)
{
    uint64_t text;
    snprintf(name, size, "%s", type->name);
    module[0] = 0;
    if (spy_value_is_builtin(type))
        return;
    put_part(v, type->dict, "__module__", module, size);
    if (v->objects.ht_qualname != SPY_PY_ABSENT &&
        spy_value_read_word(v, type->addr + v->objects.ht_qualname, &text) == 0)
        spy_value_peek_text(v, text, name, size);
}

void spy_value_print_class(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *metatype)
{
    struct spy_value_type type;
    (void)metatype;
    char module[SPY_VALUE_NAME_MAX + 1], name[SPY_VALUE_NAME_MAX + 1];
    if (spy_value_read_type(v, addr, &type) < 0) {
        spy_value_puts(v, "?");
        return;
    }
    find_class_name(v, &type, module, name, sizeof name);
    bool of_enum = type.is_enum;
    bool old = v->layout->major == 2 && spy_value_is_builtin(&type);
    spy_value_puts(v, of_enum ? "<enum '" : old ? "<type '" : "<class '");
    if (module[0] && !of_enum && strcmp(module, "builtins")) {
        spy_value_put_name(v, module);
        spy_value_puts(v, ".");
    }
    spy_value_put_name(v, name);
    spy_value_puts(v, "'>");
}

void spy_value_print_function(struct spy_py_values *v, uint64_t addr,
                              const struct spy_value_type *type)
{
    char name[SPY_VALUE_NAME_MAX + 1];
    uint64_t text;
    (void)type;
    if (spy_value_read_word(v, addr + v->objects.function_name, &text) < 0) {
        spy_value_puts(v, "?");
        return;
    }
    spy_value_peek_text(v, text, name, sizeof name);
    spy_value_puts(v, "<function ");
    spy_value_put_name(v, name);
    spy_value_printf(v, " at 0x%llx>", (unsigned long long)addr);
}

// --- instances ---

bool spy_value_is_instance(const struct spy_value_type *type)
{
    return !spy_value_is_builtin(type) && (!type->print || type->is_enum);
}

static void print_attributes(struct spy_py_values *v, const struct spy_value_attributes *a)
{
    for (size_t i = 0; i < a->n && !spy_value_is_done(v); i++) {
        spy_value_puts(v, i ? ", " : "");
        spy_value_put_name(v, a->list[i].name);
        spy_value_puts(v, "=");
        spy_value_print_named(v, a->list[i].name, a->list[i].value);
    }
    if (a->more || spy_value_is_done(v))
        spy_value_puts(v, a->n ? ", ..." : "...");
}

static void print_member(struct spy_py_values *v, const struct spy_value_type *type,
                         const struct spy_value_attribute *name,
                         const struct spy_value_attribute *value)
{
    char text[SPY_VALUE_NAME_MAX + 1];
    spy_value_peek_text(v, name->value, text, sizeof text);
    spy_value_puts(v, "<");
    spy_value_put_name(v, spy_value_short_name(type));
    spy_value_puts(v, ".");
    spy_value_put_name(v, text);
    spy_value_puts(v, ": ");
    spy_value_print_named(v, text, value->value);
    spy_value_puts(v, ">");
}

// Does the class's repr() leave the field out? Those that hold secrets are often declared so.
static bool is_left_out(struct spy_py_values *v, uint64_t field)
{
    struct spy_value_type type;
    struct spy_value_attributes a;
    bool shown;
    if (spy_value_type_of(v, field, &type) < 0)
        return false;
    spy_value_list_attributes(v, field, &type, &a);
    const struct spy_value_attribute *repr = spy_value_attribute(&a, "repr");
    return repr && spy_value_read_bool(v, repr->value, &shown) == 0 && !shown;
}

static void print_dataclass(struct spy_py_values *v, const struct spy_value_type *type,
                            const struct spy_value_attributes *a)
{
    struct spy_value_dict d;
    uint64_t key, field;
    char name[SPY_VALUE_NAME_MAX + 1], module[SPY_VALUE_NAME_MAX + 1];
    bool first = true;
    int r = spy_value_open_dict(v, type->fields, &d);
    find_class_name(v, type, module, name, sizeof name);
    spy_value_put_name(v, name);
    spy_value_puts(v, "(");
    while (r == 0 && !spy_value_is_done(v) && spy_value_next_entry(v, &d, &key, &field) > 0) {
        spy_value_peek_text(v, key, name, sizeof name);
        const struct spy_value_attribute *value = spy_value_attribute(a, name);
        if (!value || is_left_out(v, field))
            continue;
        spy_value_puts(v, first ? "" : ", ");
        spy_value_put_name(v, name);
        spy_value_puts(v, "=");
        spy_value_print_named(v, name, value->value);
        first = false;
    }
    spy_value_puts(v, r < 0 ? "?)" : ")");
}

static void print_plain(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type,
                        const struct spy_value_attributes *a)
{
    if (!a->n) {
        spy_value_print_opaque(v, addr, type->name);
        return;
    }
    spy_value_puts(v, "<");
    spy_value_put_name(v, type->name);
    spy_value_printf(v, " at 0x%llx: ", (unsigned long long)addr);
    print_attributes(v, a);
    spy_value_puts(v, ">");
}

void spy_value_print_instance(struct spy_py_values *v, uint64_t addr,
                              const struct spy_value_type *type)
{
    struct spy_value_attributes a;
    if (!spy_value_enter(v, addr, "..."))
        return;
    spy_value_list_attributes(v, addr, type, &a);
    const struct spy_value_attribute *name = spy_value_attribute(&a, "_name_");
    const struct spy_value_attribute *value = spy_value_attribute(&a, "_value_");
    if (name && value && type->is_enum)
        print_member(v, type, name, value);
    else if (type->fields)
        print_dataclass(v, type, &a);
    else
        print_plain(v, addr, type, &a);
    spy_value_leave(v);
}

// --- numpy's arrays ---

// Since numpy 1 and 2 alike: data, nd, dimensions, strides, base, descr; and at the start of descr
// the type of a scalar (numpy/core/include/numpy/ndarraytypes.h).
void spy_value_print_array(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type)
{
    enum { ND = 1, DIMENSIONS, DESCR = 5, WORDS, DIMENSIONS_MAX = 64 };
    uint64_t head = v->objects.float_value, w[WORDS], scalar;
    int64_t shape[DIMENSIONS_MAX];
    struct spy_value_type element;
    int r = spy_value_read(v, addr + head, w, sizeof w);
    uint32_t n = r == 0 ? (uint32_t)w[ND] : 0;
    if (r == 0 && n > DIMENSIONS_MAX)
        r = SPY_ERR_TORN;
    if (r == 0 && n)
        r = spy_value_read(v, w[DIMENSIONS], shape, n * sizeof *shape);
    if (r == 0)
        r = spy_value_read_word(v, w[DESCR] + head, &scalar);
    if (r == 0)
        r = spy_value_read_type(v, scalar, &element);
    if (r < 0) {
        spy_value_puts(v, "?");
        return;
    }
    spy_value_puts(v, "<");
    spy_value_put_name(v, type->name);
    spy_value_puts(v, " shape=(");
    for (uint32_t i = 0; i < n; i++)
        spy_value_printf(v, "%s%lld", i ? ", " : "", (long long)shape[i]);
    spy_value_puts(v, n == 1 ? ",) dtype=" : ") dtype=");
    spy_value_put_name(v, spy_value_short_name(&element));
    spy_value_puts(v, ">");
}
