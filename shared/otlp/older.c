// older.c - requests whose samples have the field numbers used before pdata 0.148. A request does not
// state its version, but wire types reveal it: the field that was a list (attribute_indices) is a
// number now.
#include "shared/base/mem.h"
#include "shared/otlp/decoder.h"

enum { LENGTH = 2 };                           // the wire type
enum { VALUES = 2, ATTRIBUTES = 3, LINK = 4 }; // the older numbers

// The numbers of the fields that lead from a request to its samples.
static const unsigned path[] = {1, 2, 2, 2};

typedef void (*sample_fn)(void *arg, const uint8_t *sample, size_t len);

static void each_sample(const uint8_t *at, size_t len, size_t depth, sample_fn fn, void *arg)
{
    const uint8_t *end = at + len;
    struct spy_otlp_field f;
    while (spy_otlp_next_field(&at, end, &f)) {
        if (f.wire != LENGTH || f.number != path[depth])
            continue;
        if (depth + 1 == SPY_COUNT(path))
            fn(arg, f.value, f.len);
        else
            each_sample(f.value, f.len, depth + 1, fn, arg);
    }
}

struct body {
    uint8_t *bytes;
};

struct seen {
    bool older, newer;
};

static void look_at_sample(void *arg, const uint8_t *at, size_t len)
{
    struct seen *s = arg;
    const uint8_t *end = at + len;
    struct spy_otlp_field f;
    while (spy_otlp_next_field(&at, end, &f)) {
        bool list = f.wire == LENGTH;
        s->older = s->older || (list && f.number == ATTRIBUTES);
        s->newer = s->newer || (!list && f.number == ATTRIBUTES) || (list && f.number == LINK);
    }
}

bool spy_otlp_is_older(const uint8_t *data, size_t len)
{
    struct seen s = {0};
    each_sample(data, len, 0, look_at_sample, &s);
    return s.older && !s.newer;
}

// In place, as the tags of all these numbers are one byte: number << 3 | wire type. (A tag may be
// encoded longer than necessary; such a field stays, and makes the message malformed.)
static void renumber_sample(void *arg, const uint8_t *at, size_t len)
{
    static const uint8_t today[] = {[VALUES] = 4, [ATTRIBUTES] = 2, [LINK] = 3};
    const struct body *b = arg;
    const uint8_t *end = at + len;
    struct spy_otlp_field f;
    while (spy_otlp_next_field(&at, end, &f))
        if (f.number >= VALUES && f.number <= LINK && *f.tag == (f.number << 3 | f.wire))
            b->bytes[f.tag - b->bytes] = (uint8_t)(today[f.number] << 3 | f.wire);
}

void spy_otlp_renumber(uint8_t *data, size_t len)
{
    struct body b = {data};
    each_sample(data, len, 0, renumber_sample, &b);
}
