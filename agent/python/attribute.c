#include "agent/python/attribute.h"
#include "agent/python/value_inside.h"
#include <string.h>

enum {
    ENTRIES_MAX = 512, // of a dict; the dict of an object has some tens
    TEXT_MAX = 32,     // of a name that is compared
};

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

static int find_entry(struct spy_py_values *v, struct spy_value_dict *d, const char *name,
                      uint64_t *ret, uint64_t *ret_type)
{
    uint64_t key;
    for (int i = 0; i < ENTRIES_MAX; i++) {
        int r = spy_value_next_entry(v, d, &key, ret);
        if (r <= 0)
            return r < 0 ? r : SPY_ERR_NOTFOUND;
        if (is_text_at(v->target, v->layout, key, name, ret_type))
            return 0;
    }
    return SPY_ERR_NOTFOUND;
}

int spy_py_attribute(const struct spy_target *t, const struct spy_py_layout *l, uint64_t object,
                     const char *name, uint64_t *ret, uint64_t *ret_type)
{
    struct spy_py_values v = {.target = t, .layout = l, .reads_left = SPY_PY_VALUE_READS};
    struct spy_value_type type;
    struct spy_value_dict dict;
    uint64_t addr, value = 0, str = 0;
    spy_py_objects_of(l, &v.objects);
    int r = spy_target_read_u64(t, object + l->ob_type, &addr);
    if (r == 0)
        r = spy_value_load_type(&v, addr, &type);
    if (r == 0)
        r = spy_value_open_attributes(&v, object, &type, &dict);
    if (r == 0)
        r = find_entry(&v, &dict, name, &value, &str);
    if (r < 0)
        return r;
    *ret = value;
    *ret_type = str;
    return 0;
}
