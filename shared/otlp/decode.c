#include "shared/base/arena.h"
#include "shared/base/mem.h"
#include "shared/otlp/attributes.h"
#include "shared/otlp/decoder.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static int attribute(struct spy_otlp_decoder *c, int32_t index, const char **ret_key,
                     const Spy__Otlp__AnyValue **ret)
{
    if (index < 0 || (size_t)index >= c->d->n_attribute_table)
        return spy_otlp_bad(c, "an attribute index is out of range");
    const Spy__Otlp__KeyValueAndUnit *kv = c->d->attribute_table[index];
    *ret_key = spy_otlp_text(c, kv->key_strindex);
    *ret = kv->value;
    return *ret_key ? 0 : spy_otlp_bad(c, "the key of an attribute is out of range");
}

static int read_facts(struct spy_otlp_decoder *c, const Spy__Otlp__Sample *s, struct facts *f)
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
            f->state &= ~(uint32_t)(SPY_STATE_RUNNING | SPY_STATE_RUNNABLE); // the last one holds
            f->state |= !strcmp(as_text(v), spy_activity_names[SPY_RUNNING])    ? SPY_STATE_RUNNING
                        : !strcmp(as_text(v), spy_activity_names[SPY_RUNNABLE]) ? SPY_STATE_RUNNABLE
                                                                                : 0u;
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

static int read_quality(struct spy_otlp_decoder *c, const Spy__Otlp__Profile *in,
                        struct spy_quality *q, struct spy_account *account)
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
        for (int k = 0; v && k < SPY_COUNTERS; k++)
            if (!strcmp(key, spy_counter_names[k].attribute) && as_int(v) >= 0)
                account->counted[k] = (struct spy_counted){(uint64_t)as_int(v), in->duration_nano};
    }
    return 0;
}

// --- profiles ---

static int add_label(struct spy_otlp_decoder *c, const Spy__Otlp__KeyValue *kv,
                     struct spy_label *to)
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
    return r < 0 ? spy_otlp_failed(c, r) : 0;
}

static bool is_plain(const Spy__Otlp__AnyValue *v)
{
    return v && (v->value_case == SPY__OTLP__ANY_VALUE__VALUE_STRING_VALUE ||
                 v->value_case == SPY__OTLP__ANY_VALUE__VALUE_BOOL_VALUE ||
                 v->value_case == SPY__OTLP__ANY_VALUE__VALUE_INT_VALUE ||
                 v->value_case == SPY__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE);
}

// Lists and maps as values, repeated keys, and what is past the bound are left out.
static int map_series(struct spy_otlp_decoder *c, const Spy__Otlp__Resource *resource,
                      uint32_t *ret)
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
    return r < 0 ? spy_otlp_failed(c, r) : 0;
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

static struct units units_of(const struct spy_otlp_decoder *c, const Spy__Otlp__Profile *in)
{
    struct units u = {0};
    double period_scale =
        in->period_type ? time_scale(spy_otlp_text(c, in->period_type->unit_strindex)) : 0;
    if (in->period > 0 && period_scale > 0)
        u.period =
            period_scale > 1 ? to_ns((double)in->period * period_scale) : (uint64_t)in->period;
    u.scale = in->sample_type ? time_scale(spy_otlp_text(c, in->sample_type->unit_strindex)) : 0;
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

static int add_sample(struct spy_otlp_decoder *c, uint32_t series, const Spy__Otlp__Sample *s,
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
        r = spy_otlp_stack(c, s->stack_index, &stack);
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
    return r < 0 ? spy_otlp_failed(c, r) : 0;
}

static int fill(struct spy_otlp_decoder *c, const Spy__Otlp__Resource *resource,
                const Spy__Otlp__Profile *in, const uint8_t id[16])
{
    uint32_t series;
    struct spy_quality q = {0};
    struct spy_account account = {0};
    struct units u = units_of(c, in);
    const char *unit = in->sample_type ? spy_otlp_text(c, in->sample_type->unit_strindex) : NULL;
    if (!u.is_time && !is_count(unit))
        return spy_err_set(c->err, SPY_ERR_UNSUPPORTED, 0,
                           "a profile counts '%.60s'; only times and counts are taken", unit);
    if (in->time_unix_nano > INT64_MAX || in->duration_nano > INT64_MAX - in->time_unix_nano)
        return spy_otlp_bad(c, "the time of a profile is out of range");
    int r = map_series(c, resource, &series);
    if (r == 0)
        r = read_quality(c, in, &q, &account);
    if (r < 0)
        return r;
    struct spy_series *s = spy_profile_series_at(c->p, series);
    memcpy(s->profile_id, id, sizeof s->profile_id);
    s->start_ns = in->time_unix_nano;
    s->duration_ns = in->duration_nano;
    s->period_ns = u.period;
    s->quality = q;
    s->account = account;
    for (size_t i = 0; i < in->n_samples && r == 0; i++)
        r = add_sample(c, series, in->samples[i], &u);
    spy_profile_note_seen(c->p);
    return r < 0 ? r : spy_otlp_check_budget(c);
}

// OTLP: all zeroes are not an id, and none may be given.
static int id_of(struct spy_otlp_decoder *c, const Spy__Otlp__Profile *in, size_t number,
                 uint8_t ret[16])
{
    static const uint8_t zero[16];
    if (in->profile_id.len != 0 && in->profile_id.len != 16)
        return spy_otlp_bad(c, "a profile_id has 16 bytes");
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
static int decode_profile(struct spy_otlp_decoder *c, const Spy__Otlp__Resource *resource,
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

static int decode_all(struct spy_otlp_decoder *c,
                      const Spy__Otlp__ExportProfilesServiceRequest *req, struct list *out)
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

int spy_otlp_decode(const uint8_t *data, size_t len, const struct spy_otlp_limits *limits,
                    struct spy_profile ***ret, size_t *ret_n, struct spy_err *err)
{
    static const Spy__Otlp__ProfilesDictionary no_dictionary = SPY__OTLP__PROFILES_DICTIONARY__INIT;
    _cleanup_(unpacking_done) struct unpacking u = {
        .arena = SPY_ARENA_INIT(limits->arena_bytes),
    };
    ProtobufCAllocator allocator = {arena_alloc, arena_ignore, &u};
    struct spy_otlp_decoder c = {.limits = limits, .err = err};
    if (len > limits->message_bytes)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "the request is larger than %zu bytes",
                           limits->message_bytes);
    if (spy_otlp_nests_too_deep(data, len))
        return spy_otlp_bad(&c, "it nests too deep");
    Spy__Otlp__ExportProfilesServiceRequest *req =
        spy__otlp__export_profiles_service_request__unpack(&allocator, len, data);
    if (!req && u.refused)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "the request takes too much memory to decode");
    if (!req)
        return spy_otlp_bad(&c, "the protobuf message is damaged or cut off");
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
