#include "agent/python/value_inside.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <string.h>

enum { ENTRIES_MAX = 1 << 24, SCAN_MAX = 1024 };

// Up to 3.5: a table of slots, most of them empty. 3.6 to 3.10: indices, then the entries in order.
static int open_keys_before_3_11(struct spy_py_values *v, uint64_t keys, struct spy_value_dict *d)
{
    uint64_t w[5]; // dk_refcnt, dk_size, dk_lookup, dk_usable, dk_nentries
    int r = spy_value_read(v, keys, w, sizeof w);
    if (r < 0)
        return r;
    d->words = 3;
    if (!spy_value_is_since(v, 6)) {
        d->entries = keys + 32;
        d->n = w[1];
    } else {
        uint64_t width = w[1] <= 0xff ? 1 : w[1] <= 0xffff ? 2 : w[1] <= UINT32_MAX ? 4 : 8;
        d->entries = keys + 40 + w[1] * width;
        d->n = w[4];
    }
    return d->n <= ENTRIES_MAX ? 0 : SPY_ERR_TORN;
}

static int open_keys(struct spy_py_values *v, uint64_t keys, struct spy_value_dict *d)
{
    uint64_t w[4]; // dk_refcnt; sizes, kind and version; dk_usable; dk_nentries
    if (!spy_value_is_since(v, 11))
        return open_keys_before_3_11(v, keys, d);
    int r = spy_value_read(v, keys, w, sizeof w);
    if (r < 0)
        return r;
    uint8_t log2_index_bytes = (uint8_t)(w[1] >> 8), kind = (uint8_t)(w[1] >> 16);
    if (log2_index_bytes > 40 || kind > 2 || w[3] > ENTRIES_MAX)
        return SPY_ERR_TORN;
    d->entries = keys + 32 + (1ull << log2_index_bytes);
    d->n = w[3];
    d->words = kind ? 2 : 3;
    return 0;
}

// Since 3.11 the values of a split table say in which order they were set. 3.11 and 3.12: their
// number stands two bytes before them, and the order before that, backwards; later in front of
// them, and the order behind all values there is room for (Include/internal/pycore_dict.h).
static int read_order(struct spy_py_values *v, struct spy_value_dict *d)
{
    uint8_t head[8], before[2 + sizeof d->order];
    bool leads = spy_value_is_since(v, 13);
    int r = leads ? spy_value_read(v, d->values, head, sizeof head)
                  : spy_value_read(v, d->values - sizeof head, head, sizeof head);
    size_t n = leads ? head[1] : head[6];
    if (r < 0 || n > sizeof d->order || (leads && head[0] < n))
        return r < 0 ? r : SPY_ERR_TORN;
    if (leads) {
        d->values += 8;
        r = n ? spy_value_read(v, d->values + head[0] * 8u, d->order, n) : 0;
    } else {
        r = spy_value_read(v, d->values - 2 - n, before, n + 2);
        for (size_t i = 0; i < n; i++)
            d->order[i] = before[n - 1 - i];
    }
    d->n_order = n;
    d->n = n;
    return r;
}

static int open_tables(struct spy_py_values *v, uint64_t keys, uint64_t values,
                       struct spy_value_dict *ret)
{
    ret->values = values;
    int r = open_keys(v, keys, ret);
    return r == 0 && values && spy_value_is_since(v, 11) ? read_order(v, ret) : r;
}

int spy_value_open_dict(struct spy_py_values *v, uint64_t dict, struct spy_value_dict *ret)
{
    const struct spy_py_objects *o = &v->objects;
    uint64_t w[2];
    *ret = (struct spy_value_dict){.words = 3};
    if (v->layout->major == 3) {
        int r = spy_value_read(v, dict + o->dict_keys, w, sizeof w);
        return r < 0 ? r : open_tables(v, w[0], w[1], ret);
    }
    int r = spy_value_read(v, dict + o->dict_mask, w, sizeof w);
    if (r == 0 && w[0] >= ENTRIES_MAX)
        r = SPY_ERR_TORN;
    if (r == 0) {
        ret->entries = w[1];
        ret->n = w[0] + 1;
    }
    return r;
}

// Entry i; the entries are read some at a time.
static int load_entry(struct spy_py_values *v, struct spy_value_dict *d, uint64_t i,
                      const uint64_t **ret)
{
    if (i < d->block_first || i - d->block_first >= d->block_n) {
        uint64_t left = d->n_order ? 1 : d->n - i;
        uint64_t n = left < SPY_VALUE_BLOCK ? left : SPY_VALUE_BLOCK;
        d->block_n = 0;
        int r = spy_value_read(v, d->entries + i * d->words * 8, d->block, n * d->words * 8);
        if (r < 0)
            return r;
        d->block_first = i;
        d->block_n = n;
    }
    *ret = d->block + (i - d->block_first) * d->words;
    return 0;
}

int spy_value_next_entry(struct spy_py_values *v, struct spy_value_dict *d, uint64_t *ret_key,
                         uint64_t *ret_value)
{
    while (d->i < d->n) {
        const uint64_t *entry;
        uint64_t i = d->n_order ? d->order[d->i] : d->i, value;
        d->i++;
        int r = load_entry(v, d, i, &entry);
        if (r < 0)
            return r;
        value = entry[d->words - 1];
        if (d->values)
            r = spy_value_read_word(v, d->values + i * 8, &value);
        if (r < 0)
            return r;
        if (!value || !entry[d->words - 2]) // deleted, or never used
            continue;
        *ret_key = entry[d->words - 2];
        *ret_value = value;
        return 1;
    }
    return 0;
}

int spy_value_find_key(struct spy_py_values *v, uint64_t dict, const char *key, uint64_t *ret)
{
    struct spy_value_dict d;
    uint64_t found, value;
    char name[SPY_VALUE_NAME_MAX + 1];
    int r = spy_value_open_dict(v, dict, &d);
    for (int i = 0; r == 0 && i < SCAN_MAX; i++) {
        r = spy_value_next_entry(v, &d, &found, &value);
        if (r <= 0)
            return r < 0 ? r : SPY_ERR_NOTFOUND;
        spy_value_peek_text(v, found, name, sizeof name);
        if (!strcmp(name, key)) {
            *ret = value;
            return 0;
        }
        r = 0;
    }
    return r < 0 ? r : SPY_ERR_NOTFOUND;
}

// --- attributes ---

// Where the pointer to an object's dict lies: a negative offset counts from the end of an object of
// varying size.
static int place_dict(struct spy_py_values *v, uint64_t object, const struct spy_value_type *type,
                      uint64_t *ret)
{
    enum { SIZE_MAX_TAKEN = 1 << 16 };
    int64_t at = type->dictoffset, n;
    if (at >= 0 || type->basicsize > SIZE_MAX_TAKEN || type->itemsize > SIZE_MAX_TAKEN) {
        *ret = object + (uint64_t)at;
        return at > 0 && at <= SIZE_MAX_TAKEN ? 0 : SPY_ERR_NOTFOUND;
    }
    int r = spy_value_read(v, object + v->layout->ob_size, &n, sizeof n);
    if (r == 0 && (n > SIZE_MAX_TAKEN || n < -SIZE_MAX_TAKEN))
        r = SPY_ERR_TORN;
    if (r == 0)
        *ret = object + (uint64_t)at +
               (type->basicsize + (uint64_t)(n < 0 ? -n : n) * type->itemsize + 7) / 8 * 8;
    return r;
}

static int open_pointed_dict(struct spy_py_values *v, uint64_t object,
                             const struct spy_value_type *type, struct spy_value_dict *ret)
{
    uint64_t at, dict;
    int r = place_dict(v, object, type, &at);
    if (r == 0)
        r = spy_value_read_word(v, at, &dict);
    if (r == 0 && !dict)
        r = SPY_ERR_NOTFOUND;
    return r < 0 ? r : spy_value_open_dict(v, dict, ret);
}

// 3.11: in front of the object are its values and its dict, and it has one of the two. 3.12: there
// is one word, and an odd one means the values.
static int open_managed_before_3_13(struct spy_py_values *v, uint64_t object, uint64_t keys,
                                    struct spy_value_dict *ret)
{
    uint64_t w[2];
    int r = spy_value_read(v, object - 32, w, sizeof w);
    if (r < 0)
        return r;
    uint64_t values = v->layout->minor == 11 ? w[0] : w[1] & 1 ? w[1] + 1 : 0;
    if (values)
        return open_tables(v, keys, values, ret);
    return w[1] ? spy_value_open_dict(v, w[1], ret) : SPY_ERR_NOTFOUND;
}

// Since 3.13 the values follow the object, as long as they are not its dict's.
static int open_managed(struct spy_py_values *v, uint64_t object, const struct spy_value_type *type,
                        uint64_t keys, struct spy_value_dict *ret)
{
    enum { VALID = 3 };
    uint64_t dict;
    uint8_t head[4];
    int r = spy_value_read_word(v, object - (v->layout->free_threaded ? 8 : 24), &dict);
    if (r == 0 && dict)
        return spy_value_open_dict(v, dict, ret);
    if (r < 0 || !(type->flags & SPY_FLAG_INLINE_VALUES) || type->basicsize > 1 << 16)
        return r < 0 ? r : SPY_ERR_NOTFOUND;
    r = spy_value_read(v, object + type->basicsize, head, sizeof head);
    if (r == 0 && head[VALID] != 1)
        r = SPY_ERR_TORN;
    return r < 0 ? r : open_tables(v, keys, object + type->basicsize, ret);
}

int spy_value_open_attributes(struct spy_py_values *v, uint64_t object,
                              const struct spy_value_type *type, struct spy_value_dict *ret)
{
    uint64_t keys;
    *ret = (struct spy_value_dict){.words = 3};
    if (!spy_value_is_since(v, 11) || !(type->flags & SPY_FLAG_MANAGED_DICT))
        return open_pointed_dict(v, object, type, ret);
    int r = spy_value_read_word(v, type->addr + v->objects.ht_cached_keys, &keys);
    if (r < 0)
        return r;
    return spy_value_is_since(v, 13) ? open_managed(v, object, type, keys, ret)
                                     : open_managed_before_3_13(v, object, keys, ret);
}

static struct spy_value_attribute *note_attribute(struct spy_value_attributes *a, uint64_t value)
{
    a->more = a->more || a->n == SPY_VALUE_ATTRIBUTES;
    if (a->more)
        return NULL;
    a->list[a->n].value = value;
    return &a->list[a->n++];
}

// A PyMemberDef: name, type, offset, flags, doc.
static void add_slot(struct spy_py_values *v, uint64_t object, const uint64_t member[5],
                     struct spy_value_attributes *ret)
{
    enum { OBJECT = 6, OBJECT_EX = 16 };
    uint64_t value;
    uint32_t kind = (uint32_t)member[1];
    if ((kind != OBJECT && kind != OBJECT_EX) || member[2] > 1 << 16 ||
        spy_value_read_word(v, object + member[2], &value) < 0 || !value)
        return;
    struct spy_value_attribute *a = note_attribute(ret, value);
    if (a && spy_value_peek_c_string(v, member[0], a->name, sizeof a->name) < 0)
        snprintf(a->name, sizeof a->name, "?");
}

// The __slots__ of a class are the members that its type object ends with.
static void list_slots(struct spy_py_values *v, uint64_t object, const struct spy_value_type *type,
                       struct spy_value_attributes *ret)
{
    struct spy_value_type base = *type;
    for (int depth = 0; depth < SPY_VALUE_BASES_MAX && !spy_value_is_builtin(&base); depth++) {
        for (uint64_t i = 0; i < base.n_members && i < SPY_VALUE_ATTRIBUTES; i++) {
            uint64_t member[5];
            if (spy_value_read(v, base.members + i * sizeof member, member, sizeof member) < 0)
                break;
            add_slot(v, object, member, ret);
        }
        if (!base.base || spy_value_read_type(v, base.base, &base) < 0)
            return;
    }
}

void spy_value_list_attributes(struct spy_py_values *v, uint64_t object,
                               const struct spy_value_type *type, struct spy_value_attributes *ret)
{
    struct spy_value_dict d;
    uint64_t key, value;
    ret->n = 0;
    ret->more = false;
    list_slots(v, object, type, ret);
    if (spy_value_open_attributes(v, object, type, &d) < 0)
        return;
    while (!ret->more && spy_value_next_entry(v, &d, &key, &value) > 0) {
        struct spy_value_attribute *a = note_attribute(ret, value);
        if (a)
            spy_value_peek_text(v, key, a->name, sizeof a->name);
    }
}

const struct spy_value_attribute *spy_value_attribute(const struct spy_value_attributes *a,
                                                      const char *name)
{
    for (size_t i = 0; i < a->n; i++)
        if (!strcmp(a->list[i].name, name))
            return &a->list[i];
    return NULL;
}
