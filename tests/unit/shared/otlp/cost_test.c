// Decoding costs in proportion to the bytes, however they refer to each other. Each body here names
// something large again and again; it may take as long as so many honest bodies of its size.
#include "shared/base/mem.h"
#include "shared/otlp/otlp.h"
#include "tests/data/synthetic.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// As the collector's.
static const struct spy_otlp_limits limits = {.message_bytes = 64 << 20,
                                              .profiles = 16384,
                                              .samples = 4 << 20,
                                              .stack_depth = 16384,
                                              .arena_bytes = 256 << 20,
                                              .profile_bytes = 256 << 20,
                                              .steps = 4 << 20,
                                              .steps_per_byte = 16};

enum { TIMES_MAX = 60, PROFILES = 4000, REFERENCES = 60000, LARGE = 300000 };
#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 1 }; // each takes ten times as long
#else
enum { ROUNDS = 2 };
#endif

static struct spy_buf new_buf(void)
{
    return SPY_BUF_INIT(64 << 20);
}

static void varint(struct spy_buf *to, uint64_t v)
{
    for (; v > 127; v >>= 7)
        spy_buf_putc(to, (char)(v | 128));
    spy_buf_putc(to, (char)v);
}

static void number(struct spy_buf *to, unsigned field, uint64_t v)
{
    varint(to, field << 3);
    varint(to, v);
}

// A field with a length, and the end of `in`, which becomes its value.
static void field(struct spy_buf *to, unsigned n, struct spy_buf in)
{
    varint(to, n << 3 | 2);
    varint(to, in.len);
    if (in.len)
        assert_int_equal(spy_buf_append(to, in.data, in.len), 0);
    spy_buf_free(&in);
}

static struct spy_buf text(const char *s)
{
    struct spy_buf b = new_buf();
    spy_buf_puts(&b, s);
    return b;
}

static struct spy_buf sevens(size_t n)
{
    struct spy_buf b = new_buf();
    memset(spy_buf_reserve(&b, n), '7', n);
    spy_buf_commit(&b, n);
    return b;
}

// n times v in a packed list.
static struct spy_buf packed(size_t n, unsigned v)
{
    struct spy_buf b = new_buf();
    for (size_t i = 0; i < n; i++)
        varint(&b, v);
    return b;
}

static struct spy_buf string_value(struct spy_buf value)
{
    struct spy_buf v = new_buf();
    field(&v, 1, value);
    return v;
}

static struct spy_buf pair(const char *key, struct spy_buf value)
{
    struct spy_buf p = new_buf();
    field(&p, 1, text(key));
    field(&p, 2, string_value(value));
    return p;
}

static struct spy_buf sample(unsigned stack, size_t n_attributes)
{
    struct spy_buf s = new_buf();
    number(&s, 1, stack);
    field(&s, 2, packed(n_attributes, 1));
    field(&s, 4, packed(1, 1));
    return s;
}

// The dictionary: strings "", key, a long one; attribute 1 {key, long}; function 1 with the long
// name; location 1 of `lines` lines of it, with `attributes` of attribute 1, or of a mapping whose
// file has the long name; n_stacks stacks of `frames` of that location.
struct shape {
    const char *name, *key;
    size_t n_attributes, pair_bytes;                   // of the resource
    size_t n_profiles, n_samples, per_sample, quality; // attributes of each sample, of the profile
    size_t lines, attributes, n_stacks, frames;
    bool mapped;
};

static struct spy_buf dictionary(const struct shape *s)
{
    struct spy_buf d = new_buf(), attribute = new_buf(), function = new_buf(), line = new_buf();
    struct spy_buf location = new_buf(), mapping = new_buf();
    number(&mapping, 4, 2);
    field(&d, 1, new_buf());
    field(&d, 1, mapping);
    number(&line, 1, 1);
    if (s->mapped)
        number(&location, 1, 1);
    for (size_t i = 0; i < s->lines; i++) {
        struct spy_buf copy = new_buf();
        spy_buf_append(&copy, line.data, line.len);
        field(&location, 3, copy);
    }
    spy_buf_free(&line);
    field(&location, 4, packed(s->attributes, 1));
    field(&d, 2, new_buf());
    field(&d, 2, location);
    number(&function, 1, 2);
    field(&d, 3, new_buf());
    field(&d, 3, function);
    field(&d, 5, new_buf());
    field(&d, 5, text(s->key));
    field(&d, 5, sevens(LARGE));
    number(&attribute, 1, 1);
    field(&attribute, 2, string_value(sevens(LARGE)));
    field(&d, 6, new_buf());
    field(&d, 6, attribute);
    for (size_t i = 0; i <= s->n_stacks; i++) {
        struct spy_buf stack = new_buf();
        field(&stack, 1, packed(i ? s->frames : 0, 1));
        field(&d, 7, stack);
    }
    return d;
}

static struct spy_buf scope(const struct shape *s)
{
    struct spy_buf to = new_buf();
    for (size_t i = 0; i < s->n_profiles; i++) {
        struct spy_buf p = new_buf();
        for (size_t k = 0; k < s->n_samples; k++)
            field(&p, 2, sample(s->n_stacks ? (unsigned)(k % s->n_stacks) + 1 : 0, s->per_sample));
        if (s->quality)
            field(&p, 11, packed(s->quality, 1));
        field(&to, 2, p);
    }
    return to;
}

static struct spy_buf body_of(const struct shape *s)
{
    struct spy_buf body = new_buf(), rp = new_buf(), resource = new_buf();
    field(&resource, 1, pair("service.name", text("x")));
    for (size_t i = 1; i < s->n_attributes; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%zu", i % 60);
        field(&resource, 1, pair(key, sevens(s->pair_bytes)));
    }
    field(&rp, 1, resource);
    field(&rp, 2, scope(s));
    field(&body, 1, rp);
    field(&body, 2, dictionary(s));
    return body;
}

static double seconds_of(const struct spy_buf *b)
{
    double best = 1e9;
    for (int i = 0; i < ROUNDS; i++) {
        struct spy_profile **list = NULL;
        struct spy_otlp_rejected rejected;
        struct timespec from, to;
        size_t n = 0;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        int r = spy_otlp_decode(SPY_OTLP_PROTOBUF, b->data, b->len, &limits, &list, &n, &rejected,
                                NULL);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        assert_true(r == 0 || r == SPY_ERR_LIMIT);
        for (size_t k = 0; r == 0 && k < n; k++)
            spy_profile_free(list[k]);
        free(r == 0 ? list : NULL);
        double t = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
        best = t < best ? t : best;
    }
    return best;
}

// Honest profiles: seconds for each byte.
static double honest(void)
{
    struct spy_profile *p = test_profile_random(3, 20000);
    struct spy_buf b = new_buf();
    assert_int_equal(spy_otlp_encode(p, NULL, 0, &b, NULL), 0);
    double each = seconds_of(&b) / (double)b.len;
    spy_profile_free(p);
    spy_buf_free(&b);
    return each;
}

static const struct shape shapes[] = {
    {"one key in many attributes, and empty profiles", "", 100000, 1, PROFILES, .lines = 1},
    {"large labels, and empty profiles", "", 60, 10000, PROFILES, .lines = 1},
    {"a long thread name in each sample", "thread.name", .n_profiles = 1, .n_samples = REFERENCES,
     .per_sample = 1},
    {"a long number in each sample", "thread.id", .n_profiles = 1, .n_samples = 100,
     .per_sample = REFERENCES / 10},
    {"a long number as quality", "podspy.samples.clean", .n_profiles = 1,
     .quality = 10 * REFERENCES},
    {"a long function name in each profile", "", .n_profiles = PROFILES, .n_samples = 1, .lines = 1,
     .n_stacks = 1, .frames = 1},
    {"a long file name of each frame", "", .n_profiles = 1, .n_samples = REFERENCES, .mapped = true,
     .n_stacks = REFERENCES, .frames = 1},
    {"many attributes of the frame of each stack", "profile.frame.type", .n_profiles = 1,
     .n_samples = REFERENCES, .lines = 1, .attributes = LARGE, .n_stacks = REFERENCES, .frames = 1},
    {"one deep stack in each profile", "", .n_profiles = PROFILES, .n_samples = 1, .lines = 1,
     .n_stacks = 1, .frames = REFERENCES},
    {"a frame of many lines in each stack", "", .n_profiles = 1, .n_samples = REFERENCES,
     .lines = 16000, .n_stacks = REFERENCES, .frames = 2},
};

static void the_cost_of_a_body_is_bounded(void **state)
{
    (void)state;
    double each = honest();
    for (size_t i = 0; i < SPY_COUNT(shapes); i++) {
        struct spy_buf b = body_of(&shapes[i]);
        double times = seconds_of(&b) / (each * (double)b.len);
        print_message("%8zu bytes, %6.1f times: %s\n", b.len, times, shapes[i].name);
        if (times > TIMES_MAX)
            fail_msg("%s: %.0f times as long as honest bytes", shapes[i].name, times);
        spy_buf_free(&b);
    }
}

RUN(T(the_cost_of_a_body_is_bounded))
