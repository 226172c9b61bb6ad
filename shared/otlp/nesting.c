#include "shared/base/mem.h"
#include "shared/otlp/decoder.h"

// AnyValue nests, and protobuf-c recurses: a deep body would overflow the call stack. So the fields
// that lead to an AnyValue are followed before anything is unpacked: in a message of `from`, `field`
// holds a message of `to`. No other field is followed, so text (a function's name) is never taken for
// nesting.
enum { NESTING_MAX = 32 };
enum message {
    REQUEST,
    RESOURCE_PROFILES,
    RESOURCE,
    SCOPE_PROFILES,
    SCOPE,
    DICTIONARY,
    PAIR,
    VALUE,
    LIST,
    PAIRS
};

static const struct {
    enum message from;
    unsigned field;
    enum message to;
} ways[] = {
    {REQUEST, 1, RESOURCE_PROFILES},
    {RESOURCE_PROFILES, 1, RESOURCE},
    {RESOURCE, 1, PAIR},
    {RESOURCE_PROFILES, 2, SCOPE_PROFILES},
    {SCOPE_PROFILES, 1, SCOPE},
    {SCOPE, 3, PAIR},
    {REQUEST, 2, DICTIONARY},
    {DICTIONARY, 6, PAIR}, // KeyValueAndUnit: value is 2 as well
    {PAIR, 2, VALUE},
    {VALUE, 5, LIST},
    {VALUE, 6, PAIRS},
    {LIST, 1, VALUE},
    {PAIRS, 1, PAIR},
};

static int follow_field(enum message from, uint64_t field)
{
    for (size_t i = 0; i < SPY_COUNT(ways); i++)
        if (ways[i].from == from && ways[i].field == field)
            return (int)ways[i].to;
    return -1;
}

static bool read_wire_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t b = *(*at)++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

bool spy_otlp_next_field(const uint8_t **at, const uint8_t *end, struct spy_otlp_field *ret)
{
    uint64_t key, len = 0, ignored;
    ret->tag = *at;
    if (*at == end || !read_wire_varint(at, end, &key))
        return false;
    ret->wire = key & 7;
    ret->number = key >> 3;
    if (ret->wire == 2 && !read_wire_varint(at, end, &len))
        return false;
    ret->value = *at;
    if (ret->wire == 0)
        return read_wire_varint(at, end, &ignored);
    if (ret->wire == 1 || ret->wire == 5)
        len = ret->wire == 1 ? 8 : 4;
    else if (ret->wire != 2)
        return false;
    if (len > (uint64_t)(end - *at))
        return false;
    ret->len = (size_t)len;
    *at += len;
    return true;
}

// Each level reads bytes inside of its parent, so `depth` bounds the work. Damage ends the check;
// unpacking reports it.
static bool nests_too_deep(enum message m, const uint8_t *at, const uint8_t *end, int depth)
{
    struct spy_otlp_field f;
    if (depth > NESTING_MAX)
        return true;
    while (spy_otlp_next_field(&at, end, &f)) {
        int to = f.wire == 2 ? follow_field(m, f.number) : -1;
        if (to >= 0 && nests_too_deep((enum message)to, f.value, f.value + f.len, depth + 1))
            return true;
    }
    return false;
}

bool spy_otlp_nests_too_deep(const uint8_t *data, size_t len)
{
    return nests_too_deep(REQUEST, data, data + len, 0);
}
