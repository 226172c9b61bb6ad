#include "agent/python/value_inside.h"
#include "agent/python/word.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <string.h>

enum { ANY = 0 };

static void print_none(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type)
{
    (void)addr, (void)type;
    spy_value_puts(v, "None");
}

static void print_ellipsis(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type)
{
    (void)addr, (void)type;
    spy_value_puts(v, "Ellipsis");
}

// Types of the interpreter and of extensions, and what prints their objects and those of their
// subclasses.
static const struct row {
    const char *name;
    spy_value_printer print;
    uint8_t major; // of Python; ANY
} rows[] = {
    {"NoneType", print_none, ANY},
    {"ellipsis", print_ellipsis, ANY},
    {"bool", spy_value_print_bool, ANY},
    {"int", spy_value_print_int, ANY},
    {"long", spy_value_print_int, 2},
    {"float", spy_value_print_float, ANY},
    {"complex", spy_value_print_complex, ANY},
    {"str", spy_value_print_str, 3},
    {"unicode", spy_value_print_str, 2},
    {"bytes", spy_value_print_bytes, 3},
    {"str", spy_value_print_bytes, 2},
    {"bytearray", spy_value_print_bytearray, 3},
    {"list", spy_value_print_list, ANY},
    {"tuple", spy_value_print_tuple, ANY},
    {"dict", spy_value_print_dict, ANY},
    {"frozendict", spy_value_print_frozendict, 3},
    {"set", spy_value_print_set, ANY},
    {"frozenset", spy_value_print_frozenset, ANY},
    {"collections.deque", spy_value_print_deque, ANY},
    {"slice", spy_value_print_slice, ANY},
    {"range", spy_value_print_range, 3},
    {"BaseException", spy_value_print_exception, 3},
    {"exceptions.BaseException", spy_value_print_exception, 2},
    {"type", spy_value_print_class, ANY},
    {"function", spy_value_print_function, ANY},
    {"numpy.bool", spy_value_print_number, ANY},
    {"numpy.bool_", spy_value_print_number, ANY},
    {"numpy.int8", spy_value_print_number, ANY},
    {"numpy.int16", spy_value_print_number, ANY},
    {"numpy.int32", spy_value_print_number, ANY},
    {"numpy.int64", spy_value_print_number, ANY},
    {"numpy.longlong", spy_value_print_number, ANY},
    {"numpy.uint8", spy_value_print_number, ANY},
    {"numpy.uint16", spy_value_print_number, ANY},
    {"numpy.uint32", spy_value_print_number, ANY},
    {"numpy.uint64", spy_value_print_number, ANY},
    {"numpy.ulonglong", spy_value_print_number, ANY},
    {"numpy.float16", spy_value_print_number, ANY},
    {"numpy.float32", spy_value_print_number, ANY},
    {"numpy.float64", spy_value_print_number, ANY},
    {"numpy.complex64", spy_value_print_number, ANY},
    {"numpy.complex128", spy_value_print_number, ANY},
    {"numpy.ndarray", spy_value_print_array, ANY},
};

const char *spy_value_short_name(const struct spy_value_type *type)
{
    const char *dot = strrchr(type->name, '.');
    return dot ? dot + 1 : type->name;
}

// The types of extensions are heap types too by now, but their names have the module's before them.
bool spy_value_is_builtin(const struct spy_value_type *type)
{
    return !(type->flags & SPY_FLAG_HEAPTYPE) || strchr(type->name, '.');
}

static spy_value_printer find_printer(const struct spy_py_values *v,
                                      const struct spy_value_type *type)
{
    if (!spy_value_is_builtin(type))
        return NULL;
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        if ((rows[i].major == ANY || rows[i].major == v->layout->major) &&
            !strcmp(rows[i].name, type->name))
            return rows[i].print;
    return NULL;
}

// The names of the interpreter's own types are constants of its program, which a core file leaves
// out: without the program's file its flags have to do. A bool is the type whose base is int.
static const char *guess_name(struct spy_py_values *v, const struct spy_value_type *type)
{
    static const struct {
        uint8_t bit; // Py_TPFLAGS_*_SUBCLASS
        const char *name[2];
    } kinds[] = {
        {23, {"?", "int"}},     {24, {"int", "long"}},
        {25, {"list", "list"}}, {26, {"tuple", "tuple"}},
        {27, {"bytes", "str"}}, {28, {"str", "unicode"}},
        {29, {"dict", "dict"}}, {30, {"BaseException", "exceptions.BaseException"}},
        {31, {"type", "type"}},
    };
    bool old = v->layout->major == 2;
    uint64_t flags = 0;
    if (type->base && spy_value_read_word(v, type->base + v->objects.tp_flags, &flags) < 0)
        flags = 0;
    if (flags >> (old ? 23 : 24) & 1)
        return "bool";
    for (size_t i = 0; i < SPY_COUNT(kinds); i++)
        if (type->flags >> kinds[i].bit & 1)
            return kinds[i].name[old];
    return "?";
}

int spy_value_load_type(struct spy_py_values *v, uint64_t addr, struct spy_value_type *ret)
{
    const struct spy_py_objects *o = &v->objects;
    uint8_t bytes[512];
    if (o->tp_dictoffset + 8u > sizeof bytes)
        return SPY_ERR_TORN;
    int r = spy_value_read(v, addr, bytes, o->tp_dictoffset + 8u);
    if (r < 0)
        return r;
    *ret = (struct spy_value_type){
        .addr = addr,
        .metatype = spy_py_word(bytes, v->layout->ob_type),
        .n_members = spy_py_word(bytes, v->layout->ob_size),
        .basicsize = spy_py_word(bytes, o->tp_basicsize),
        .itemsize = spy_py_word(bytes, o->tp_itemsize),
        .repr = spy_py_word(bytes, o->tp_repr),
        .flags = (uint32_t)spy_py_word(bytes, o->tp_flags),
        .members = spy_py_word(bytes, o->tp_members),
        .base = spy_py_word(bytes, o->tp_base),
        .dict = spy_py_word(bytes, o->tp_dict),
        .dictoffset = (int64_t)spy_py_word(bytes, o->tp_dictoffset),
    };
    r = spy_value_peek_c_string(v, spy_py_word(bytes, o->tp_name), ret->name, sizeof ret->name);
    if (r == SPY_ERR_TORN && !spy_target_is_live(v->target) && !(ret->flags & SPY_FLAG_HEAPTYPE)) {
        snprintf(ret->name, sizeof ret->name, "%s", guess_name(v, ret));
        return 0;
    }
    return r == 0 && !ret->name[0] ? SPY_ERR_TORN : r;
}

// Finds the nearest base that a printer is for.
static void choose_printer(struct spy_py_values *v, struct spy_value_type *type)
{
    struct spy_value_type base = *type;
    type->print = find_printer(v, &base);
    for (int i = 0; i < SPY_VALUE_BASES_MAX && !type->print && base.base; i++) {
        if (spy_value_load_type(v, base.base, &base) < 0)
            return;
        type->print = find_printer(v, &base);
    }
    type->own_repr = type->print && type->repr != base.repr;
}

// A class of enum members is one of EnumMeta, which 3.11 has renamed, or of a class derived from it.
static bool is_enum_class(struct spy_py_values *v, const struct spy_value_type *type)
{
    struct spy_value_type meta = {.base = type->metatype};
    for (int i = 0; i < SPY_VALUE_BASES_MAX && meta.base; i++) {
        if (spy_value_load_type(v, meta.base, &meta) < 0 || spy_value_is_builtin(&meta))
            return false;
        if (!strcmp(meta.name, "EnumMeta") || !strcmp(meta.name, "EnumType"))
            return true;
    }
    return false;
}

// The class itself or the nearest base that has them.
static uint64_t find_fields(struct spy_py_values *v, const struct spy_value_type *type,
                            const char *key)
{
    struct spy_value_type base = *type;
    uint64_t fields;
    for (int i = 0; i < SPY_VALUE_BASES_MAX && !spy_value_is_builtin(&base); i++) {
        if (spy_value_find_key(v, base.dict, key, &fields) == 0)
            return fields;
        if (!base.base || spy_value_load_type(v, base.base, &base) < 0)
            break;
    }
    return 0;
}

// What a class of Python code says of its objects. The keys of its dict have types in turn, which
// are not asked for theirs.
static void describe_class(struct spy_py_values *v, struct spy_value_type *type)
{
    bool is_tuple = type->print == spy_value_print_tuple && type->own_repr;
    if (v->in_fields)
        return;
    v->in_fields = true;
    type->is_enum = is_enum_class(v, type);
    if (is_tuple || (!type->print && v->options.level > 1))
        type->fields = find_fields(v, type, is_tuple ? "_fields" : "__dataclass_fields__");
    v->in_fields = false;
}

int spy_value_read_type(struct spy_py_values *v, uint64_t addr, struct spy_value_type *ret)
{
    struct spy_value_type *kept = &v->types[(addr >> 4) % SPY_VALUE_TYPES], type;
    if (addr && kept->addr == addr) {
        *ret = *kept;
        return 0;
    }
    int r = spy_value_load_type(v, addr, &type);
    if (r < 0)
        return r;
    choose_printer(v, &type);
    bool is_whole = spy_value_is_builtin(&type) || !v->in_fields;
    if (!spy_value_is_builtin(&type))
        describe_class(v, &type);
    if (is_whole && v->reads_left) // else some of it may not have been read
        *kept = type;
    *ret = type;
    return 0;
}

int spy_value_type_of(struct spy_py_values *v, uint64_t object, struct spy_value_type *ret)
{
    uint64_t type;
    int r = spy_value_read_word(v, object + v->layout->ob_type, &type);
    return r < 0 ? r : spy_value_read_type(v, type, ret);
}
