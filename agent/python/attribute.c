#include "agent/python/attribute.h"
#include "shared/base/mem.h"
#include <string.h>

enum {
    ENTRIES_MAX = 512, // of a dict; the dict of an object has some tens
    // PyTypeObject, counted from the end of the object's header (PyObject_VAR_HEAD)
    TYPE_BASICSIZE = 8,
    TYPE_FLAGS = 144,
    TYPE_DICTOFFSET = 264,
    FLAG_INLINE_VALUES = 1 << 2, // Py_TPFLAGS_INLINE_VALUES, 3.13
    FLAG_MANAGED_DICT = 1 << 4,  // Py_TPFLAGS_MANAGED_DICT, 3.11
    TEXT_MAX = 32,               // of a name that is compared
};

// Keys and values of a dict, or of an object without one.
struct table {
    uint64_t keys, values; // values 0: each is beside its key
    uint64_t entries, n;   // the entries, if they are not in the keys
};

static int read_pointer(const struct spy_target *t, uint64_t addr, uint64_t *ret)
{
    return spy_target_read_u64(t, addr, ret);
}

// 2.7: ma_mask, ma_table. 3.3 to 3.5: ma_keys and ma_values follow ma_used; later also a version.
static int read_dict(const struct spy_target *t, const struct spy_py_layout *l, uint64_t dict,
                     struct table *ret)
{
    uint64_t at = dict + l->ob_type + 8, w[4];
    int r = spy_target_read(t, at, w, sizeof w);
    if (r < 0)
        return r;
    size_t keys = l->dict_keys == SPY_DICT_WIDE ? 1 : 2;
    if (l->dict_keys == SPY_DICT_TABLE)
        *ret = (struct table){.entries = w[3], .n = w[2] + 1};
    else
        *ret = (struct table){.keys = w[keys], .values = w[keys + 1]};
    // Since 3.13 the values begin with four bytes of their own, padded.
    if (ret->values && l->managed_dict == SPY_MANAGED_EMBEDDED)
        ret->values += 8;
    return 0;
}

static int find_pointed_dict(const struct spy_target *t, const struct spy_py_layout *l,
                             uint64_t object, const uint8_t *type, struct table *ret)
{
    int64_t offset;
    uint64_t dict;
    memcpy(&offset, type + TYPE_DICTOFFSET, sizeof offset);
    if (offset <= 0 || offset > 4096)
        return SPY_ERR_NOTFOUND;
    int r = read_pointer(t, object + (uint64_t)offset, &dict);
    if (r == 0 && !dict)
        r = SPY_ERR_NOTFOUND;
    return r < 0 ? r : read_dict(t, l, dict, ret);
}

// 3.11: two words in front of the object, its values and its dict; one of them is set. 3.12: one
// word; if it is odd, it is the values.
static int find_in_front(const struct spy_target *t, const struct spy_py_layout *l, uint64_t object,
                         uint64_t keys, struct table *ret)
{
    uint64_t w[2];
    int r = spy_target_read(t, object - 32, w, sizeof w);
    if (r < 0)
        return r;
    uint64_t values = l->managed_dict == SPY_MANAGED_TWO ? w[0] : w[1] & 1 ? w[1] + 1 : 0;
    *ret = (struct table){.keys = keys, .values = values};
    if (values)
        return 0;
    return w[1] ? read_dict(t, l, w[1], ret) : SPY_ERR_NOTFOUND;
}

static int find_embedded(const struct spy_target *t, const struct spy_py_layout *l, uint64_t object,
                         const uint8_t *type, uint64_t keys, struct table *ret)
{
    enum { EMBEDDED = 2, VALID = 3 };
    uint64_t dict, basic, flags;
    uint8_t head[4];
    int r = read_pointer(t, object - (l->free_threaded ? 8 : 24), &dict);
    if (r == 0 && dict)
        return read_dict(t, l, dict, ret);
    memcpy(&basic, type + TYPE_BASICSIZE, sizeof basic);
    memcpy(&flags, type + TYPE_FLAGS, sizeof flags);
    if (r < 0 || !(flags & FLAG_INLINE_VALUES) || basic > 65536)
        return r < 0 ? r : SPY_ERR_NOTFOUND;
    r = spy_target_read(t, object + basic, head, sizeof head);
    *ret = (struct table){.keys = keys, .values = object + basic + 8};
    return r < 0 ? r : head[EMBEDDED] == 1 && head[VALID] == 1 ? 0 : SPY_ERR_TORN;
}

static int find_table(const struct spy_target *t, const struct spy_py_layout *l, uint64_t object,
                      struct table *ret)
{
    uint8_t type[TYPE_DICTOFFSET + 8];
    uint64_t at, flags, keys;
    int r = read_pointer(t, object + l->ob_type, &at);
    if (r == 0)
        r = spy_target_read(t, at + l->ob_size + 8, type, sizeof type);
    if (r < 0)
        return r;
    memcpy(&flags, type + TYPE_FLAGS, sizeof flags);
    if (!l->managed_dict || !(flags & FLAG_MANAGED_DICT))
        return find_pointed_dict(t, l, object, type, ret);
    r = read_pointer(t, at + l->ob_size + 8 + l->type_cached_keys, &keys);
    if (r < 0)
        return r;
    return l->managed_dict == SPY_MANAGED_EMBEDDED ? find_embedded(t, l, object, type, keys, ret)
                                                   : find_in_front(t, l, object, keys, ret);
}

// --- the keys ---

// Where the entries of a PyDictKeysObject are, how many, and how wide. An entry is key and value,
// or hash, key and value.
static int find_entries(const struct spy_target *t, const struct spy_py_layout *l, uint64_t keys,
                        uint64_t *ret, uint64_t *ret_n, size_t *ret_words)
{
    uint64_t w[5]; // refcnt; size, or sizes and kind; ...
    int r = spy_target_read(t, keys, w, sizeof w);
    if (r < 0)
        return r;
    *ret_words = 3;
    if (l->dict_keys == SPY_DICT_WIDE) {
        *ret = keys + 32;
        *ret_n = w[1];
    } else if (l->dict_keys == SPY_DICT_INDEXED) {
        *ret = keys + 40 + w[1] * (w[1] <= 0xff ? 1 : w[1] <= 0xffff ? 2 : 4);
        *ret_n = w[4];
    } else {
        uint8_t index_bytes = (uint8_t)(w[1] >> 8), kind = (uint8_t)(w[1] >> 16);
        if (index_bytes > 16 || kind > 2)
            return SPY_ERR_TORN;
        *ret = keys + 32 + (1u << index_bytes);
        *ret_n = w[3];
        *ret_words = kind ? 2 : 3;
    }
    return 0;
}

// True if this is a str of this text. Its characters follow its header.
static bool is_text_at(const struct spy_target *t, const struct spy_py_layout *l, uint64_t str,
                       const char *text, uint64_t *ret_type)
{
    uint8_t bytes[128 + TEXT_MAX];
    uint64_t length, at = l->str_is_bytes ? l->bytes_data : l->str_ascii_data, n = strlen(text);
    if (at + n > sizeof bytes || spy_target_read(t, str, bytes, at + n) < 0)
        return false;
    memcpy(&length, bytes + (l->str_is_bytes ? l->ob_size : l->str_length), sizeof length);
    memcpy(ret_type, bytes + l->ob_type, sizeof *ret_type);
    return length == n && !memcmp(bytes + at, text, n);
}

static int find_entry(const struct spy_target *t, const struct spy_py_layout *l,
                      const struct table *table, const char *name, uint64_t *ret,
                      uint64_t *ret_type)
{
    uint64_t at = table->entries, n = table->n;
    size_t words = 3;
    int r = at ? 0 : find_entries(t, l, table->keys, &at, &n, &words);
    if (r < 0)
        return r;
    for (uint64_t i = 0; i < n && i < ENTRIES_MAX; i++) {
        uint64_t e[3] = {0};
        r = spy_target_read(t, at + i * words * 8, e, words * 8);
        if (r < 0)
            return r;
        if (!e[words - 2] || !is_text_at(t, l, e[words - 2], name, ret_type))
            continue;
        *ret = e[words - 1];
        r = table->values ? read_pointer(t, table->values + i * 8, ret) : 0;
        return r < 0 ? r : *ret ? 0 : SPY_ERR_NOTFOUND;
    }
    return SPY_ERR_NOTFOUND;
}

int spy_py_attribute(const struct spy_target *t, const struct spy_py_layout *l, uint64_t object,
                     const char *name, uint64_t *ret, uint64_t *ret_type)
{
    struct table table;
    uint64_t value = 0, type = 0;
    int r = find_table(t, l, object, &table);
    if (r == 0)
        r = find_entry(t, l, &table, name, &value, &type);
    if (r < 0)
        return r;
    *ret = value;
    *ret_type = type;
    return 0;
}
