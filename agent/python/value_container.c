#include "agent/python/value_inside.h"
#include "shared/base/mem.h"
#include <string.h>

// Between two items: false once nothing more can be printed.
static bool put_comma(struct spy_py_values *v, bool first)
{
    if (spy_value_is_done(v)) {
        if (!v->is_full)
            spy_value_puts(v, first ? "..." : ", ...");
        return false;
    }
    spy_value_puts(v, first ? "" : ", ");
    return true;
}

// The items at an array of n pointers.
static void print_items(struct spy_py_values *v, uint64_t at, uint64_t n)
{
    uint64_t block[SPY_VALUE_BLOCK];
    if (n > INT64_MAX / 8) {
        spy_value_puts(v, "?");
        return;
    }
    for (uint64_t i = 0; i < n && put_comma(v, !i); i++) {
        uint64_t left = n - i, k = i % SPY_VALUE_BLOCK;
        size_t len = (left < SPY_VALUE_BLOCK ? (size_t)left : SPY_VALUE_BLOCK) * sizeof *block;
        if (!k && spy_value_read(v, at + i * sizeof *block, block, len) < 0) {
            spy_value_puts(v, "?");
            return;
        }
        spy_value_print(v, block[k]);
    }
}

void spy_value_print_list(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type)
{
    uint64_t n, items;
    (void)type;
    if (!spy_value_enter(v, addr, "[...]"))
        return;
    if (spy_value_read_word(v, addr + v->layout->ob_size, &n) < 0 ||
        spy_value_read_word(v, addr + v->objects.list_items, &items) < 0) {
        spy_value_puts(v, "?");
    } else {
        spy_value_puts(v, "[");
        print_items(v, items, n);
        spy_value_puts(v, "]");
    }
    spy_value_leave(v);
}

// --- tuples ---

static bool has_fields(struct spy_py_values *v, const struct spy_value_type *type, uint64_t n)
{
    struct spy_value_type names;
    uint64_t n_names;
    return type->fields && spy_value_type_of(v, type->fields, &names) == 0 &&
           names.print == spy_value_print_tuple &&
           spy_value_read_word(v, type->fields + v->layout->ob_size, &n_names) == 0 && n_names == n;
}

static void print_fields(struct spy_py_values *v, uint64_t names, uint64_t items, uint64_t n)
{
    char name[SPY_VALUE_NAME_MAX + 1];
    for (uint64_t i = 0; i < n && put_comma(v, !i); i++) {
        uint64_t key, value;
        if (spy_value_read_word(v, names + i * 8, &key) < 0 ||
            spy_value_read_word(v, items + i * 8, &value) < 0) {
            spy_value_puts(v, "?");
            return;
        }
        spy_value_peek_text(v, key, name, sizeof name);
        spy_value_put_name(v, name);
        spy_value_puts(v, "=");
        spy_value_print_named(v, name, value);
    }
}

static void print_tuple_of(struct spy_py_values *v, uint64_t addr, uint64_t n,
                           const struct spy_value_type *type)
{
    uint64_t items = addr + v->objects.tuple_items;
    if (type->own_repr) {
        spy_value_put_name(v, spy_value_short_name(type));
        spy_value_puts(v, "(");
    }
    if (has_fields(v, type, n)) {
        print_fields(v, type->fields + v->objects.tuple_items, items, n);
    } else {
        spy_value_puts(v, "(");
        print_items(v, items, n);
        spy_value_puts(v, n == 1 ? ",)" : ")");
    }
    spy_value_puts(v, type->own_repr ? ")" : "");
}

void spy_value_print_tuple(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type)
{
    uint64_t n;
    if (!spy_value_enter(v, addr, "(...)"))
        return;
    if (spy_value_read_word(v, addr + v->layout->ob_size, &n) < 0)
        spy_value_puts(v, "?");
    else
        print_tuple_of(v, addr, n, type);
    spy_value_leave(v);
}

// --- dicts ---

static void print_entry(struct spy_py_values *v, uint64_t key, uint64_t value, bool as_pair)
{
    char name[SPY_VALUE_NAME_MAX + 1] = "";
    if (v->options.redact)
        spy_value_peek_text(v, key, name, sizeof name);
    spy_value_puts(v, as_pair ? "(" : "");
    spy_value_print(v, key);
    spy_value_puts(v, as_pair ? ", " : ": ");
    spy_value_print_named(v, name, value);
    spy_value_puts(v, as_pair ? ")" : "");
}

static void print_entries(struct spy_py_values *v, uint64_t addr, bool as_pairs)
{
    struct spy_value_dict d;
    uint64_t key, value;
    int r = spy_value_open_dict(v, addr, &d);
    spy_value_puts(v, as_pairs ? "[" : "{");
    for (bool first = true; r == 0 && (r = spy_value_next_entry(v, &d, &key, &value)) > 0;
         first = false) {
        if (!put_comma(v, first))
            break;
        print_entry(v, key, value, as_pairs);
        r = 0;
    }
    if (r < 0)
        spy_value_puts(v, "?");
    spy_value_puts(v, as_pairs ? "]" : "}");
}

static void print_factory(struct spy_py_values *v, uint64_t addr)
{
    uint64_t factory;
    if (v->objects.defaultdict_factory == SPY_PY_ABSENT ||
        spy_value_read_word(v, addr + v->objects.defaultdict_factory, &factory) < 0)
        return;
    if (factory)
        spy_value_print(v, factory);
    else
        spy_value_puts(v, "None");
    spy_value_puts(v, ", ");
}

void spy_value_print_dict(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type)
{
    bool as_pairs = !strcmp(type->name, "collections.OrderedDict") && !spy_value_is_since(v, 12);
    if (!spy_value_enter(v, addr, type->own_repr ? "..." : "{...}"))
        return;
    if (type->own_repr) {
        spy_value_put_name(v, spy_value_short_name(type));
        spy_value_puts(v, "(");
    }
    if (!strcmp(type->name, "collections.defaultdict"))
        print_factory(v, addr);
    print_entries(v, addr, as_pairs);
    spy_value_puts(v, type->own_repr ? ")" : "");
    spy_value_leave(v);
}

void spy_value_print_frozendict(struct spy_py_values *v, uint64_t addr,
                                const struct spy_value_type *type)
{
    (void)type;
    if (!spy_value_enter(v, addr, "frozendict({...})"))
        return;
    spy_value_puts(v, "frozendict(");
    print_entries(v, addr, false);
    spy_value_puts(v, ")");
    spy_value_leave(v);
}

// --- sets ---

// Up to 3.4 the slot of what was removed holds a certain str, later a hash of -1.
static bool is_removed(struct spy_py_values *v, const uint64_t slot[2], uint64_t key)
{
    char text[16];
    if (spy_value_is_since(v, 5))
        return slot[1] == UINT64_MAX;
    spy_value_peek_text(v, key, text, sizeof text);
    return !strcmp(text, "<dummy key>");
}

// The items in the order of their slots, which is that of repr(). Python 2 has the hash first.
static bool print_slots(struct spy_py_values *v, uint64_t table, uint64_t n)
{
    uint64_t block[SPY_VALUE_BLOCK][2];
    bool key_first = v->layout->major == 3 && v->layout->minor >= 5, first = true;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t left = n - i, k = i % SPY_VALUE_BLOCK;
        size_t len = (left < SPY_VALUE_BLOCK ? (size_t)left : SPY_VALUE_BLOCK) * sizeof *block;
        if (!k && spy_value_read(v, table + i * sizeof *block, block, len) < 0)
            return false;
        uint64_t key = block[k][key_first ? 0 : 1];
        if (!key || is_removed(v, block[k], key))
            continue;
        if (!put_comma(v, first))
            break;
        first = false;
        spy_value_print(v, key);
    }
    return true;
}

// As {1}, or with the type's name: Name({1}), Name(), and Name([1]) in Python 2.
static void print_set_of(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type,
                         bool named)
{
    enum { MASK_MAX = (1 << 28) - 1 };
    uint64_t w[3]; // used, mask, table
    bool old = v->layout->major == 2;
    if (spy_value_read(v, addr + v->objects.set_mask - 8u, w, sizeof w) < 0 || w[1] > MASK_MAX) {
        spy_value_puts(v, "?");
        return;
    }
    bool brackets = w[0] || old;
    named = named || !w[0] || old;
    if (named) {
        spy_value_put_name(v, spy_value_short_name(type));
        spy_value_puts(v, "(");
    }
    spy_value_puts(v, !brackets ? "" : old ? "[" : "{");
    if (brackets && !print_slots(v, w[2], w[1] + 1))
        spy_value_puts(v, "?");
    spy_value_puts(v, !brackets ? "" : old ? "]" : "}");
    spy_value_puts(v, named ? ")" : "");
}

void spy_value_print_set(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type)
{
    if (!spy_value_enter(v, addr, "set(...)"))
        return;
    print_set_of(v, addr, type, !spy_value_is_builtin(type));
    spy_value_leave(v);
}

void spy_value_print_frozenset(struct spy_py_values *v, uint64_t addr,
                               const struct spy_value_type *type)
{
    if (!spy_value_enter(v, addr, "frozenset(...)"))
        return;
    print_set_of(v, addr, type, true);
    spy_value_leave(v);
}

// --- others that have parts ---

static void print_blocks(struct spy_py_values *v, uint64_t block, uint64_t index, uint64_t n)
{
    const struct spy_py_objects *o = &v->objects;
    for (uint64_t i = 0; i < n && put_comma(v, !i); i++) {
        uint64_t item;
        if (index == o->block_length) {
            index = 0;
            if (spy_value_read_word(v, block + o->block_next, &block) < 0)
                block = 0;
        }
        if (!block || spy_value_read_word(v, block + o->block_items + index++ * 8, &item) < 0) {
            spy_value_puts(v, "?");
            return;
        }
        spy_value_print(v, item);
    }
}

void spy_value_print_deque(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type)
{
    const struct spy_py_objects *o = &v->objects;
    uint64_t n, block, index, maxlen;
    if (!spy_value_enter(v, addr, "[...]"))
        return;
    if (spy_value_read_word(v, addr + o->deque_length, &n) < 0 ||
        spy_value_read_word(v, addr + o->deque_block, &block) < 0 ||
        spy_value_read_word(v, addr + o->deque_index, &index) < 0 ||
        spy_value_read_word(v, addr + o->deque_maxlen, &maxlen) < 0 || index > o->block_length) {
        spy_value_puts(v, "?");
    } else {
        spy_value_put_name(v, spy_value_short_name(type));
        spy_value_puts(v, "([");
        print_blocks(v, block, index, n);
        spy_value_puts(v, "]");
        if (maxlen <= INT64_MAX)
            spy_value_printf(v, ", maxlen=%llu", (unsigned long long)maxlen);
        spy_value_puts(v, ")");
    }
    spy_value_leave(v);
}

void spy_value_print_slice(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type)
{
    (void)type;
    if (!spy_value_enter(v, addr, "..."))
        return;
    spy_value_puts(v, "slice(");
    print_items(v, addr + v->objects.slice_start, 3);
    spy_value_puts(v, ")");
    spy_value_leave(v);
}

static bool is_one(struct spy_py_values *v, uint64_t addr)
{
    uint64_t tag;
    uint32_t digit;
    bool tagged = v->objects.int_tag != SPY_PY_ABSENT;
    return spy_value_read_word(v, addr + (tagged ? v->objects.int_tag : v->layout->ob_size),
                               &tag) == 0 &&
           (tagged ? (tag & 3) == 0 && tag >> 3 == 1 : tag == 1) &&
           spy_value_read(v, addr + v->objects.int_digits, &digit, sizeof digit) == 0 && digit == 1;
}

// Its step, too, where that is not 1.
void spy_value_print_range(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type)
{
    uint64_t step;
    (void)type;
    if (!spy_value_enter(v, addr, "..."))
        return;
    bool known = spy_value_read_word(v, addr + v->objects.range_start + 16u, &step) == 0;
    spy_value_puts(v, "range(");
    print_items(v, addr + v->objects.range_start, known && is_one(v, step) ? 2 : 3);
    spy_value_puts(v, ")");
    spy_value_leave(v);
}

// Up to 3.6 a single argument is followed by a comma.
void spy_value_print_exception(struct spy_py_values *v, uint64_t addr,
                               const struct spy_value_type *type)
{
    struct spy_value_type args_type;
    uint64_t args, n;
    if (!spy_value_enter(v, addr, "..."))
        return;
    spy_value_put_name(v, spy_value_short_name(type));
    if (spy_value_read_word(v, addr + v->objects.exception_args, &args) < 0 ||
        spy_value_type_of(v, args, &args_type) < 0 || args_type.print != spy_value_print_tuple ||
        spy_value_read_word(v, args + v->layout->ob_size, &n) < 0) {
        spy_value_puts(v, "(?)");
    } else {
        spy_value_puts(v, "(");
        print_items(v, args + v->objects.tuple_items, n);
        spy_value_puts(v, n == 1 && !spy_value_is_since(v, 7) ? ",)" : ")");
    }
    spy_value_leave(v);
}
