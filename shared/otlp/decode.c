#include "shared/base/arena.h"
#include "shared/base/mem.h"
#include "shared/otlp/attributes.h"
#include "shared/otlp/otlp.h"
#include <inttypes.h>
#include <podspy_otlp.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

const struct spy_otlp_limits spy_otlp_default_limits = {
    .message_bytes = 64 << 20,
    .profiles = 4096,
    .samples = 4 << 20,
    .stack_depth = 16384,
    .caps = {.strings = 4 << 20, .stacks = 16 << 20, .string_bytes = 256 << 20},
    .arena_bytes = 512 << 20,
    .profile_bytes = 256 << 20,
    .frames = 64 << 20,
};

struct decoder {
    const struct spy_otlp_limits *limits;
    const Spy__Otlp__ProfilesDictionary *d;
    struct spy_profile *p;                  // being filled; the dictionary's ids below are of it
    uint32_t *strings, *functions, *stacks; // dictionary index -> id + 1; 0: not yet
    uint64_t samples, frames;               // so far, of all profiles
    size_t made_bytes;                      // held by the profiles that are done
    XXH128_hash_t body;                     // of the whole request
    struct spy_err *err;
};

static int bad(struct decoder *c, const char *what)
{
    return spy_err_set(c->err, SPY_ERR_INVALID, 0, "not an OTLP profiles request: %s", what);
}

static int add_failed(struct decoder *c, int r)
{
    return spy_err_set(c->err, r, 0, "%s",
                       r == SPY_ERR_LIMIT ? "the request holds too many different entries"
                                          : spy_code_name(r));
}

static const char *text(const struct decoder *c, int32_t index)
{
    return index >= 0 && (size_t)index < c->d->n_string_table ? c->d->string_table[index] : NULL;
}

static int map_string(struct decoder *c, int32_t index, uint32_t *ret)
{
    const char *s = text(c, index);
    if (!s)
        return bad(c, "a string index is out of range");
    if (!c->strings[index]) {
        int r = spy_profile_cstr(c->p, s, ret);
        if (r < 0)
            return add_failed(c, r);
        c->strings[index] = *ret + 1;
    }
    *ret = c->strings[index] - 1;
    return 0;
}

static uint32_t to_line(int64_t line)
{
    return line > 0 && line <= INT32_MAX ? (uint32_t)line : 0;
}

static uint32_t kind_of(const struct decoder *c, const Spy__Otlp__Function *f, bool has_mapping)
{
    const char *system = text(c, f->system_name_strindex);
    if (system && !strcmp(system, SPY_SYSTEM_MARKER))
        return SPY_FRAME_MARKER;
    if (system && !strcmp(system, SPY_SYSTEM_NATIVE))
        return SPY_FRAME_NATIVE;
    return has_mapping ? SPY_FRAME_NATIVE : SPY_FRAME_PYTHON;
}

static int map_function(struct decoder *c, int32_t index, bool has_mapping, uint32_t *ret)
{
    if (index < 0 || (size_t)index >= c->d->n_function_table)
        return bad(c, "a function index is out of range");
    if (!c->functions[index]) {
        const Spy__Otlp__Function *f = c->d->function_table[index];
        struct spy_function fn = {.start_line = to_line(f->start_line),
                                  .kind = kind_of(c, f, has_mapping)};
        int r = map_string(c, f->name_strindex, &fn.name);
        if (r == 0)
            r = map_string(c, f->filename_strindex, &fn.filename);
        if (r < 0)
            return r;
        r = spy_profile_function(c->p, &fn, ret);
        if (r < 0)
            return add_failed(c, r);
        c->functions[index] = *ret + 1;
    }
    *ret = c->functions[index] - 1;
    return 0;
}

static int push_frame(struct decoder *c, uint32_t function, uint32_t line, uint32_t *stack)
{
    uint32_t frame;
    int r = spy_profile_frame(c->p, (struct spy_frame){function, line}, &frame);
    if (r == 0)
        r = spy_profile_stack(c->p, *stack, frame, stack);
    return r < 0 ? add_failed(c, r) : 0;
}

static int push_named(struct decoder *c, const char *name, const char *file, uint32_t kind,
                      uint32_t *stack)
{
    struct spy_function fn = {.kind = kind};
    uint32_t id = 0;
    int r = spy_profile_cstr(c->p, name, &fn.name);
    if (r == 0)
        r = spy_profile_cstr(c->p, file, &fn.filename);
    if (r == 0)
        r = spy_profile_function(c->p, &fn, &id);
    return r < 0 ? add_failed(c, r) : push_frame(c, id, 0, stack);
}

// A location without lines is native code nobody has symbolized: its address names it.
static int push_address(struct decoder *c, const Spy__Otlp__Location *l, uint32_t *stack)
{
    char name[32];
    const char *file = "";
    if ((size_t)l->mapping_index < c->d->n_mapping_table && l->mapping_index > 0)
        file = text(c, c->d->mapping_table[l->mapping_index]->filename_strindex);
    snprintf(name, sizeof name, "0x%" PRIx64, l->address);
    return push_named(c, name, file ? file : "", SPY_FRAME_NATIVE, stack);
}

// The lines of a location are inlined calls, the innermost first.
static int push_location(struct decoder *c, int32_t index, uint32_t *stack)
{
    if (index < 0 || (size_t)index >= c->d->n_location_table)
        return bad(c, "a location index is out of range");
    const Spy__Otlp__Location *l = c->d->location_table[index];
    if (!l->n_lines)
        return push_address(c, l, stack);
    for (size_t i = l->n_lines; i-- > 0;) {
        uint32_t function;
        int r = map_function(c, l->lines[i]->function_index, l->mapping_index > 0, &function);
        if (r == 0)
            r = push_frame(c, function, to_line(l->lines[i]->line), stack);
        if (r < 0)
            return r;
    }
    return 0;
}

// How many of the innermost locations are kept: stack_depth counts frames, and a location can hold
// any number of them.
static size_t fitting(const struct decoder *c, const Spy__Otlp__Stack *s, uint64_t *ret_frames)
{
    size_t n = 0;
    *ret_frames = 0;
    for (; n < s->n_location_indices; n++) {
        int32_t at = s->location_indices[n];
        bool known = at >= 0 && (size_t)at < c->d->n_location_table;
        size_t lines = known ? c->d->location_table[at]->n_lines : 0;
        if (*ret_frames + lines + !lines > c->limits->stack_depth)
            break;
        *ret_frames += lines + !lines;
    }
    return n;
}

static int check_budget(struct decoder *c)
{
    const struct spy_otlp_limits *l = c->limits;
    if (l->frames && c->frames > l->frames)
        return spy_err_set(c->err, SPY_ERR_LIMIT, 0, "the stacks of the request are too large");
    if (l->profile_bytes && c->made_bytes + spy_profile_memory(c->p) > l->profile_bytes)
        return spy_err_set(c->err, SPY_ERR_LIMIT, 0,
                           "the profiles of the request take more than %zu bytes",
                           l->profile_bytes);
    return 0;
}

static int make_stack(struct decoder *c, const Spy__Otlp__Stack *s, uint32_t *ret)
{
    uint64_t frames;
    size_t n = fitting(c, s, &frames);
    int r = 0;
    *ret = 0;
    c->frames += frames + 1;
    if (n < s->n_location_indices)
        r = push_named(c, "[truncated]", "", SPY_FRAME_MARKER, ret);
    while (r == 0 && n)
        r = push_location(c, s->location_indices[--n], ret);
    return r < 0 ? r : check_budget(c);
}

static int map_stack(struct decoder *c, int32_t index, uint32_t *ret)
{
    *ret = 0;
    if (!index && !c->d->n_stack_table)
        return 0;
    if (index < 0 || (size_t)index >= c->d->n_stack_table)
        return bad(c, "a stack index is out of range");
    if (!c->stacks[index]) {
        int r = make_stack(c, c->d->stack_table[index], ret);
        if (r < 0)
            return r;
        c->stacks[index] = *ret + 1;
    }
    *ret = c->stacks[index] - 1;
    return 0;
}

// --- attributes ---

struct facts {
    uint64_t tid;
    const char *thread_name;
    uint32_t state;
    bool has_state;
};

static int64_t as_int(const Spy__Otlp__AnyValue *v)
{
    if (v->value_case == SPY__OTLP__ANY_VALUE__VALUE_BOOL_VALUE)
        return v->bool_value;
    if (v->value_case == SPY__OTLP__ANY_VALUE__VALUE_STRING_VALUE)
        return strtoll(v->string_value, NULL, 10);
    return v->value_case == SPY__OTLP__ANY_VALUE__VALUE_INT_VALUE ? v->int_value : 0;
}

static const char *as_text(const Spy__Otlp__AnyValue *v)
{
    return v->value_case == SPY__OTLP__ANY_VALUE__VALUE_STRING_VALUE ? v->string_value : "";
}

static int attribute(struct decoder *c, int32_t index, const char **ret_key,
                     const Spy__Otlp__AnyValue **ret)
{
    if (index < 0 || (size_t)index >= c->d->n_attribute_table)
        return bad(c, "an attribute index is out of range");
    const Spy__Otlp__KeyValueAndUnit *kv = c->d->attribute_table[index];
    *ret_key = text(c, kv->key_strindex);
    *ret = kv->value;
    return *ret_key ? 0 : bad(c, "the key of an attribute is out of range");
}

static int read_facts(struct decoder *c, const Spy__Otlp__Sample *s, struct facts *f)
{
    for (size_t i = 0; i < s->n_attribute_indices; i++) {
        const char *key;
        const Spy__Otlp__AnyValue *v;
        int r = attribute(c, s->attribute_indices[i], &key, &v);
        if (r < 0)
            return r;
        if (!v)
            continue;
        if (!strcmp(key, SPY_ATTR_THREAD_ID)) {
            f->tid = (uint64_t)as_int(v);
        } else if (!strcmp(key, SPY_ATTR_THREAD_NAME)) {
            f->thread_name = as_text(v);
        } else if (!strcmp(key, SPY_ATTR_STATE)) {
            f->has_state = true;
            f->state |= !strcmp(as_text(v), "running") ? SPY_STATE_RUNNING : 0u;
        } else if (!strcmp(key, SPY_ATTR_GIL)) {
            f->state |= !strcmp(as_text(v), "holds")   ? SPY_STATE_GIL_HOLDS
                        : !strcmp(as_text(v), "waits") ? SPY_STATE_GIL_WAITS
                                                       : 0u;
        } else if (!strcmp(key, SPY_ATTR_GC)) {
            f->state |= as_int(v) ? SPY_STATE_GC : 0u;
        }
    }
    return 0;
}

static int read_quality(struct decoder *c, const Spy__Otlp__Profile *in, struct spy_quality *q)
{
    const struct {
        const char *key;
        uint64_t *to;
    } rows[] = {
        {SPY_ATTR_QUALITY "clean", &q->clean},   {SPY_ATTR_QUALITY "salvaged", &q->salvaged},
        {SPY_ATTR_QUALITY "paused", &q->paused}, {SPY_ATTR_QUALITY "failed", &q->failed},
        {SPY_ATTR_QUALITY "lost", &q->lost},     {SPY_ATTR_QUALITY "late", &q->late}};
    for (size_t i = 0; i < in->n_attribute_indices; i++) {
        const char *key;
        const Spy__Otlp__AnyValue *v;
        int r = attribute(c, in->attribute_indices[i], &key, &v);
        if (r < 0)
            return r;
        for (size_t k = 0; v && k < SPY_COUNT(rows); k++)
            if (!strcmp(key, rows[k].key) && as_int(v) > 0)
                *rows[k].to = (uint64_t)as_int(v);
    }
    return 0;
}

// --- profiles ---

static int add_label(struct decoder *c, const Spy__Otlp__KeyValue *kv, struct spy_label *to)
{
    char number[32];
    const char *value = number;
    const Spy__Otlp__AnyValue *v = kv->value;
    if (v->value_case == SPY__OTLP__ANY_VALUE__VALUE_STRING_VALUE)
        value = v->string_value;
    else if (v->value_case == SPY__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE)
        snprintf(number, sizeof number, "%g", v->double_value);
    else
        snprintf(number, sizeof number, "%" PRId64, as_int(v));
    int r = spy_profile_cstr(c->p, kv->key, &to->key);
    if (r == 0)
        r = spy_profile_cstr(c->p, value, &to->value);
    return r < 0 ? add_failed(c, r) : 0;
}

static bool is_plain(const Spy__Otlp__AnyValue *v)
{
    return v && (v->value_case == SPY__OTLP__ANY_VALUE__VALUE_STRING_VALUE ||
                 v->value_case == SPY__OTLP__ANY_VALUE__VALUE_BOOL_VALUE ||
                 v->value_case == SPY__OTLP__ANY_VALUE__VALUE_INT_VALUE ||
                 v->value_case == SPY__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE);
}

// Lists and maps as values, repeated keys, and what is past the bound are left out.
static int map_series(struct decoder *c, const Spy__Otlp__Resource *resource, uint32_t *ret)
{
    struct spy_label labels[SPY_LABELS_MAX];
    size_t n = 0;
    for (size_t i = 0; resource && i < resource->n_attributes && n < SPY_LABELS_MAX; i++) {
        const Spy__Otlp__KeyValue *kv = resource->attributes[i];
        if (!is_plain(kv->value))
            continue;
        int r = add_label(c, kv, &labels[n]);
        if (r < 0)
            return r;
        bool twice = false;
        for (size_t k = 0; k < n; k++)
            twice = twice || labels[k].key == labels[n].key;
        n += !twice;
    }
    int r = spy_profile_series(c->p, labels, n, ret);
    return r < 0 ? add_failed(c, r) : 0;
}

struct units {
    bool is_time; // values are nanoseconds
    double scale; // to nanoseconds, when they are time
    uint64_t period;
};

static double time_scale(const char *unit)
{
    return !unit                           ? 0
           : !strcmp(unit, "nanoseconds")  ? 1
           : !strcmp(unit, "microseconds") ? 1e3
           : !strcmp(unit, "milliseconds") ? 1e6
           : !strcmp(unit, "seconds")      ? 1e9
                                           : 0;
}

static uint64_t to_ns(double ns)
{
    return ns < (double)INT64_MAX ? (uint64_t)ns : INT64_MAX;
}

// No type at all, and the units in which counts are given.
static bool is_count(const char *unit)
{
    return !unit || !*unit || !strcmp(unit, "count") || !strcmp(unit, "samples") ||
           !strcmp(unit, "1");
}

static struct units units_of(const struct decoder *c, const Spy__Otlp__Profile *in)
{
    struct units u = {0};
    double period_scale = in->period_type ? time_scale(text(c, in->period_type->unit_strindex)) : 0;
    if (in->period > 0 && period_scale > 0)
        u.period =
            period_scale > 1 ? to_ns((double)in->period * period_scale) : (uint64_t)in->period;
    u.scale = in->sample_type ? time_scale(text(c, in->sample_type->unit_strindex)) : 0;
    u.is_time = u.scale > 0;
    return u;
}

static void weigh(const Spy__Otlp__Sample *s, const struct units *u, uint64_t *count, uint64_t *ns)
{
    // values and timestamps are alternatives: without values each timestamp is one sample.
    uint64_t sum = s->n_values ? 0 : s->n_timestamps_unix_nano;
    for (size_t i = 0; i < s->n_values; i++)
        if (s->values[i] > 0 && __builtin_add_overflow(sum, (uint64_t)s->values[i], &sum))
            sum = UINT64_MAX;
    if (u->is_time && s->n_values) {
        *ns = u->scale > 1 ? to_ns((double)sum * u->scale) : sum < INT64_MAX ? sum : INT64_MAX;
        *count = u->period                   ? (*ns + u->period / 2) / u->period
                 : s->n_timestamps_unix_nano ? s->n_timestamps_unix_nano
                                             : 1;
        if (*ns && !*count)
            *count = 1;
    } else {
        *count = sum;
        if (__builtin_mul_overflow(*count, u->period, ns))
            *ns = UINT64_MAX;
    }
}

static int add_sample(struct decoder *c, uint32_t series, const Spy__Otlp__Sample *s,
                      const struct units *u)
{
    struct facts f = {.thread_name = ""};
    uint32_t stack = 0, name = 0, thread = 0;
    uint64_t count, ns;
    if (++c->samples > c->limits->samples)
        return spy_err_set(c->err, SPY_ERR_LIMIT, 0, "more than %u samples in one request",
                           c->limits->samples);
    int r = read_facts(c, s, &f);
    if (r == 0)
        r = map_stack(c, s->stack_index, &stack);
    if (r < 0)
        return r;
    if (!f.has_state) // another profiler's: it saw the thread on a CPU, or does not say
        f.state |= SPY_STATE_RUNNING;
    weigh(s, u, &count, &ns);
    r = spy_profile_cstr(c->p, f.thread_name, &name);
    if (r == 0)
        r = spy_profile_thread(c->p, f.tid, name, &thread);
    if (r == 0 && count)
        r = spy_profile_add(c->p, series, stack, thread, f.state, count, ns);
    return r < 0 ? add_failed(c, r) : 0;
}

static int fill(struct decoder *c, const Spy__Otlp__Resource *resource,
                const Spy__Otlp__Profile *in, const uint8_t id[16])
{
    uint32_t series;
    struct spy_quality q = {0};
    struct units u = units_of(c, in);
    const char *unit = in->sample_type ? text(c, in->sample_type->unit_strindex) : NULL;
    if (!u.is_time && !is_count(unit))
        return spy_err_set(c->err, SPY_ERR_UNSUPPORTED, 0,
                           "a profile counts '%.60s'; only times and counts are taken", unit);
    if (in->time_unix_nano > INT64_MAX || in->duration_nano > INT64_MAX - in->time_unix_nano)
        return bad(c, "the time of a profile is out of range");
    int r = map_series(c, resource, &series);
    if (r == 0)
        r = read_quality(c, in, &q);
    if (r < 0)
        return r;
    struct spy_series *s = spy_profile_series_at(c->p, series);
    memcpy(s->profile_id, id, sizeof s->profile_id);
    s->start_ns = in->time_unix_nano;
    s->duration_ns = in->duration_nano;
    s->period_ns = u.period;
    s->quality = q;
    for (size_t i = 0; i < in->n_samples && r == 0; i++)
        r = add_sample(c, series, in->samples[i], &u);
    return r < 0 ? r : check_budget(c);
}

// OTLP: all zeroes are no id, and none may be given.
static int id_of(struct decoder *c, const Spy__Otlp__Profile *in, size_t number, uint8_t ret[16])
{
    static const uint8_t zero[16];
    if (in->profile_id.len != 0 && in->profile_id.len != 16)
        return bad(c, "a profile_id has 16 bytes");
    if (in->profile_id.len && memcmp(in->profile_id.data, zero, 16) != 0) {
        memcpy(ret, in->profile_id.data, 16);
        return 0;
    }
    XXH128_canonical_t id;
    const uint64_t seed[] = {c->body.low64, c->body.high64, number};
    XXH128_canonicalFromHash(&id, XXH3_128bits(seed, sizeof seed));
    memcpy(ret, id.digest, 16);
    return 0;
}

// Each Profile message becomes a profile of its own: two may bear the same labels.
static int decode_profile(struct decoder *c, const Spy__Otlp__Resource *resource,
                          const Spy__Otlp__Profile *in, size_t number, struct spy_profile **ret)
{
    uint8_t id[16] = {0};
    if (id_of(c, in, number, id) < 0)
        return SPY_ERR_INVALID;
    c->p = spy_profile_new_capped(&c->limits->caps);
    c->strings = calloc(c->d->n_string_table + 1, sizeof *c->strings);
    c->functions = calloc(c->d->n_function_table + 1, sizeof *c->functions);
    c->stacks = calloc(c->d->n_stack_table + 1, sizeof *c->stacks);
    int r =
        c->p && c->strings && c->functions && c->stacks ? fill(c, resource, in, id) : SPY_ERR_NOMEM;
    if (r == SPY_ERR_NOMEM)
        spy_err_set(c->err, r, 0, "out of memory");
    free(c->strings);
    free(c->functions);
    free(c->stacks);
    if (r < 0) {
        spy_profile_free(c->p);
        return r;
    }
    c->made_bytes += spy_profile_memory(c->p);
    *ret = c->p;
    return 0;
}

struct list {
    struct spy_profile **profiles;
    size_t n, cap;
};

static int decode_all(struct decoder *c, const Spy__Otlp__ExportProfilesServiceRequest *req,
                      struct list *out)
{
    for (size_t i = 0; i < req->n_resource_profiles; i++) {
        const Spy__Otlp__ResourceProfiles *rp = req->resource_profiles[i];
        for (size_t k = 0; k < rp->n_scope_profiles; k++)
            for (size_t m = 0; m < rp->scope_profiles[k]->n_profiles; m++) {
                int r = spy_grow(&out->profiles, &out->cap, out->n + 1, sizeof *out->profiles,
                                 c->limits->profiles);
                if (r < 0)
                    return spy_err_set(c->err, r, 0, "more than %u profiles in one request",
                                       c->limits->profiles);
                r = decode_profile(c, rp->resource, rp->scope_profiles[k]->profiles[m], out->n,
                                   &out->profiles[out->n]);
                if (r < 0)
                    return r;
                out->n++;
            }
    }
    return 0;
}

struct unpacking {
    struct spy_arena arena;
    bool refused; // something did not fit
};

static void *arena_alloc(void *unpacking, size_t size)
{
    struct unpacking *u = unpacking;
    void *p = spy_arena_alloc(&u->arena, size);
    u->refused = u->refused || !p;
    return p;
}

static void arena_ignore(void *unpacking, void *pointer)
{
    (void)unpacking;
    (void)pointer;
}

static void unpacking_done(struct unpacking *u)
{
    spy_arena_free(&u->arena);
}

// AnyValue nests, and protobuf-c descends by recursion: a body deep enough would end the stack. So
// the ways that lead to an AnyValue are walked before anything is unpacked, by these rows: in a
// message of `from`, `field` holds a message of `to`. Only they are followed, so that no text (a
// function's name) is ever taken for nesting.
enum { NESTING_MAX = 32 };
enum message { REQUEST, RESOURCE_PROFILES, RESOURCE, DICTIONARY, PAIR, VALUE, LIST, PAIRS };

static const struct {
    enum message from;
    unsigned field;
    enum message to;
} ways[] = {
    {REQUEST, 1, RESOURCE_PROFILES},
    {RESOURCE_PROFILES, 1, RESOURCE},
    {RESOURCE, 1, PAIR},
    {REQUEST, 2, DICTIONARY},
    {DICTIONARY, 6, PAIR}, // KeyValueAndUnit: value is 2 as well
    {PAIR, 2, VALUE},
    {VALUE, 5, LIST},
    {VALUE, 6, PAIRS},
    {LIST, 1, VALUE},
    {PAIRS, 1, PAIR},
};

static int way(enum message from, unsigned field)
{
    for (size_t i = 0; i < SPY_COUNT(ways); i++)
        if (ways[i].from == from && ways[i].field == field)
            return (int)ways[i].to;
    return -1;
}

static bool read_key(const uint8_t **at, const uint8_t *end, uint64_t *ret)
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

// Skips the value of a field that is not followed. False: damaged, which unpacking will say.
static bool skip(const uint8_t **at, const uint8_t *end, unsigned wire)
{
    uint64_t ignored;
    size_t size = wire == 1 ? 8 : 4;
    if (wire == 0)
        return read_key(at, end, &ignored);
    if ((wire != 1 && wire != 5) || (size_t)(end - *at) < size)
        return false;
    *at += size;
    return true;
}

// Each level looks at bytes inside of its parent, so `depth` bounds the work.
static bool nests_too_deep(enum message m, const uint8_t *at, const uint8_t *end, int depth)
{
    if (depth > NESTING_MAX)
        return true;
    while (at < end) {
        uint64_t key, len;
        if (!read_key(&at, end, &key))
            return false;
        if ((key & 7) != 2) {
            if (!skip(&at, end, key & 7))
                return false;
            continue;
        }
        if (!read_key(&at, end, &len) || len > (uint64_t)(end - at))
            return false;
        int to = way(m, (unsigned)(key >> 3));
        if (to >= 0 && nests_too_deep((enum message)to, at, at + len, depth + 1))
            return true;
        at += len;
    }
    return false;
}

int spy_otlp_decode(const uint8_t *data, size_t len, const struct spy_otlp_limits *limits,
                    struct spy_profile ***ret, size_t *ret_n, struct spy_err *err)
{
    static const Spy__Otlp__ProfilesDictionary no_dictionary = SPY__OTLP__PROFILES_DICTIONARY__INIT;
    _cleanup_(unpacking_done) struct unpacking u = {
        .arena = SPY_ARENA_INIT(limits->arena_bytes),
    };
    ProtobufCAllocator allocator = {arena_alloc, arena_ignore, &u};
    struct decoder c = {.limits = limits, .err = err};
    if (len > limits->message_bytes)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "the request is larger than %zu bytes",
                           limits->message_bytes);
    if (nests_too_deep(REQUEST, data, data + len, 0))
        return bad(&c, "it nests too deep");
    Spy__Otlp__ExportProfilesServiceRequest *req =
        spy__otlp__export_profiles_service_request__unpack(&allocator, len, data);
    if (!req && u.refused)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "the request takes too much memory to decode");
    if (!req)
        return bad(&c, "the protobuf message is damaged or cut off");
    c.body = XXH3_128bits(data, len);
    c.d = req->dictionary ? req->dictionary : &no_dictionary;
    struct list out = {0};
    int r = decode_all(&c, req, &out);
    if (r < 0) {
        for (size_t i = 0; i < out.n; i++)
            spy_profile_free(out.profiles[i]);
        free(out.profiles);
        return r;
    }
    *ret = out.profiles;
    *ret_n = out.n;
    return 0;
}
