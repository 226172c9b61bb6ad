#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/otlp/attributes.h"
#include "shared/otlp/decoder.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROFILE_STEPS = 64 }; // the cost of an empty profile

const struct spy_otlp_limits spy_otlp_default_limits = {
    .message_bytes = 64 << 20,
    .profiles = 4096,
    .samples = 4 << 20,
    .stack_depth = 16384,
    .caps = {.strings = 4 << 20, .stacks = 16 << 20, .string_bytes = 256 << 20},
    .arena_bytes = 512 << 20,
    .profile_bytes = 256 << 20,
    .steps = 64 << 20,
    .steps_per_byte = 64,
};

// --- attributes ---

struct facts {
    uint64_t tid;
    uint32_t thread_name; // string
    uint32_t state;
    bool has_state;
};

static uint32_t state_of(const char *activity)
{
    return !strcmp(activity, spy_activity_names[SPY_RUNNING])    ? SPY_STATE_RUNNING
           : !strcmp(activity, spy_activity_names[SPY_RUNNABLE]) ? SPY_STATE_RUNNABLE
                                                                 : 0u;
}

static int read_fact(struct spy_otlp_decoder *c, struct spy_otlp_attribute *a, struct facts *f)
{
    if (!strcmp(a->key, SPY_ATTR_THREAD_ID)) {
        f->tid = (uint64_t)a->number;
    } else if (!strcmp(a->key, SPY_ATTR_THREAD_NAME)) {
        return spy_otlp_attribute_string(c, a, &f->thread_name);
    } else if (!strcmp(a->key, SPY_ATTR_STATE)) {
        f->has_state = true;
        f->state &=
            ~(uint32_t)(SPY_STATE_RUNNING | SPY_STATE_RUNNABLE); // the last attribute counts
        f->state |= state_of(a->text);
    } else if (!strcmp(a->key, SPY_ATTR_GIL)) {
        f->state |= !strcmp(a->text, "holds")   ? SPY_STATE_GIL_HOLDS
                    : !strcmp(a->text, "waits") ? SPY_STATE_GIL_WAITS
                                                : 0u;
    } else if (!strcmp(a->key, SPY_ATTR_GC)) {
        f->state |= a->number ? SPY_STATE_GC : 0u;
    }
    return 0;
}

static int read_facts(struct spy_otlp_decoder *c, const Spy__Otlp__Sample *s, struct facts *f)
{
    int r = 0;
    for (size_t i = 0; i < s->n_attribute_indices && r == 0; i++) {
        struct spy_otlp_attribute *a;
        r = spy_otlp_attribute(c, s->attribute_indices[i], &a);
        if (r == 0 && a->has_value)
            r = read_fact(c, a, f);
    }
    return r;
}

static int read_quality(struct spy_otlp_decoder *c, const Spy__Otlp__Profile *in,
                        struct spy_quality *q, struct spy_account *account)
{
    const struct {
        const char *key;
        uint64_t *to;
    } rows[] = {
#define ROW(name, ...) {SPY_ATTR_QUALITY #name, &q->name},
        SPY_QUALITY(ROW)
#undef ROW
    };
    for (size_t i = 0; i < in->n_attribute_indices; i++) {
        struct spy_otlp_attribute *a;
        int r = spy_otlp_attribute(c, in->attribute_indices[i], &a);
        if (r < 0)
            return r;
        for (size_t k = 0; a->has_value && k < SPY_COUNT(rows); k++)
            if (!strcmp(a->key, rows[k].key) && a->number > 0)
                *rows[k].to = (uint64_t)a->number;
        for (int k = 0; a->has_value && k < SPY_COUNTERS; k++)
            if (!strcmp(a->key, spy_counter_names[k].attribute) && a->number >= 0)
                account->counted[k] = (struct spy_counted){(uint64_t)a->number, in->duration_nano};
    }
    return 0;
}

// --- profiles ---

// What the profiles of one scope share.
struct scope {
    const struct spy_otlp_labels *labels; // of its resource
    const char *usual; // the first sample type that is samples, CPU or wall time; NULL: none yet
};

static int add_series_label(struct spy_otlp_decoder *c, const char *key, const char *value,
                            struct spy_label *to)
{
    int r = spy_profile_cstr(c->p, key, &to->key);
    if (r == 0)
        r = spy_profile_cstr(c->p, value, &to->value);
    return r < 0 ? spy_otlp_failed(c, r) : 0;
}

// type: a type that keeps the series apart, unless its resource has such a label; or NULL.
static int decode_series(struct spy_otlp_decoder *c, const struct scope *s, const char *type,
                         uint32_t *ret)
{
    struct spy_label labels[SPY_LABELS_MAX];
    const struct spy_otlp_labels *from = s->labels;
    size_t n = 0;
    int r = spy_otlp_step(c, from->steps + (type ? strlen(type) / SPY_OTLP_STEP_BYTES : 0));
    for (; r == 0 && n < from->n; n++) {
        if (type && !strcmp(from->rows[n].key, SPY_LABEL_SAMPLE_TYPE))
            type = NULL;
        r = add_series_label(c, from->rows[n].key, from->rows[n].value, &labels[n]);
    }
    if (r == 0 && type && n == SPY_LABELS_MAX)
        return spy_otlp_bad(c, "a resource has too many attributes for the sample type's");
    if (r == 0 && type)
        r = add_series_label(c, SPY_LABEL_SAMPLE_TYPE, type, &labels[n++]);
    if (r < 0)
        return r;
    r = spy_profile_series(c->p, labels, n, ret);
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

// Whether a unit is that of counts, or absent.
static bool is_count(const char *unit)
{
    return !unit || !*unit || !strcmp(unit, "count") || !strcmp(unit, "samples") ||
           !strcmp(unit, "1");
}

static bool is_usual(const char *type)
{
    static const char *const names[] = {"", "samples", "sample", "cpu", "wall"};
    for (size_t i = 0; i < SPY_COUNT(names); i++)
        if (!strcmp(type, names[i]))
            return true;
    return false;
}

// The type that keeps a profile apart, or NULL. The second usual type of a scope counts the same
// samples again, as "samples" and "cpu" of a Go program do.
static const char *type_apart(struct spy_otlp_decoder *c, const Spy__Otlp__Profile *in,
                              struct scope *scope)
{
    const char *type = in->sample_type ? spy_otlp_text(c, in->sample_type->type_strindex) : NULL;
    if (!type) // none is given
        type = "";
    if (!is_usual(type))
        return type;
    if (!scope->usual)
        scope->usual = type;
    return strcmp(type, scope->usual) != 0 ? type : NULL;
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

// Derives a number of samples from time: by the period, or by the millisecond without one.
static uint64_t samples_of(uint64_t ns, uint64_t period)
{
    uint64_t unit = period ? period : SPY_NS_PER_MS;
    uint64_t n = ns / unit + (ns % unit >= unit - unit / 2);
    return ns && !n ? 1 : n;
}

static void derive_values(const Spy__Otlp__Sample *s, const struct units *u, uint64_t *count,
                          uint64_t *ns)
{
    // values and timestamps are alternatives: without values each timestamp is one sample.
    uint64_t sum = s->n_values ? 0 : s->n_timestamps_unix_nano;
    for (size_t i = 0; i < s->n_values; i++)
        sum = spy_add_sat(sum, (uint64_t)s->values[i]); // none is negative
    if (u->is_time && s->n_values) {
        *ns = u->scale > 1 ? to_ns((double)sum * u->scale) : sum < INT64_MAX ? sum : INT64_MAX;
        *count = samples_of(*ns, u->period);
    } else {
        *count = sum;
        if (__builtin_mul_overflow(*count, u->period, ns))
            *ns = UINT64_MAX;
    }
}

static int check_sample(struct spy_otlp_decoder *c, const Spy__Otlp__Sample *s)
{
    if (++c->samples > c->limits->samples)
        return spy_err_set(c->err, SPY_ERR_LIMIT, 0, "more than %u samples in one request",
                           c->limits->samples);
    // This may be a request of another version, with values in the place of attributes.
    if (!s->n_values && !s->n_timestamps_unix_nano)
        return spy_otlp_bad(c, "a sample has neither values nor timestamps");
    for (size_t i = 0; i < s->n_values; i++)
        if (s->values[i] < 0)
            return spy_otlp_bad(c, "a sample has a negative value");
    return 0;
}

static int add_sample(struct spy_otlp_decoder *c, uint32_t series, const Spy__Otlp__Sample *s,
                      const struct units *u)
{
    struct facts f = {0};
    uint32_t stack = 0, thread = 0;
    uint64_t count, ns;
    int r = check_sample(c, s);
    if (r == 0)
        r = read_facts(c, s, &f);
    if (r == 0)
        r = spy_otlp_stack(c, s->stack_index, &stack);
    if (r < 0)
        return r;
    if (!f.has_state) // another profiler's, which saw the thread on a CPU or does not say
        f.state |= SPY_STATE_RUNNING;
    derive_values(s, u, &count, &ns);
    r = spy_profile_thread(c->p, f.tid, f.thread_name, &thread);
    if (r == 0 && count)
        r = spy_profile_add(c->p, series, stack, thread, f.state, count, ns);
    return r < 0 ? spy_otlp_failed(c, r) : 0;
}

static int check_decoded_profile(struct spy_otlp_decoder *c, const Spy__Otlp__Profile *in)
{
    const Spy__Otlp__ValueType *types[] = {in->sample_type, in->period_type};
    for (size_t i = 0; i < SPY_COUNT(types); i++)
        if (types[i] &&
            (!spy_otlp_text(c, types[i]->type_strindex) ||
             !spy_otlp_text(c, types[i]->unit_strindex)) &&
            (types[i]->type_strindex || types[i]->unit_strindex))
            return spy_otlp_bad(c, "the string index of a type or unit is out of range");
    const char *unit = in->sample_type ? spy_otlp_text(c, in->sample_type->unit_strindex) : NULL;
    if (time_scale(unit) <= 0 && !is_count(unit))
        return spy_err_set(c->err, SPY_ERR_UNSUPPORTED, 0,
                           "a profile counts '%.60s'; only times and counts are accepted", unit);
    if (in->time_unix_nano > INT64_MAX || in->duration_nano > INT64_MAX - in->time_unix_nano)
        return spy_otlp_bad(c, "the time of a profile is out of range");
    return 0;
}

static uint32_t least(size_t a, size_t b, size_t c)
{
    return (uint32_t)spy_min(spy_min(a, b), c);
}

// A guess at what a profile with so many samples needs; the tables grow where it is too low.
static int reserve_tables(struct spy_otlp_decoder *c, size_t samples)
{
    enum { MOST = 8192, STACKS_A_SAMPLE = 16, NAMES_A_SAMPLE = 6, NAME_BYTES = 32 };
    const Spy__Otlp__ProfilesDictionary *d = c->d;
    size_t names = samples * NAMES_A_SAMPLE;
    const struct spy_profile_caps n = {
        .strings = least(d->n_string_table, names, MOST),
        .functions = least(d->n_function_table, names, MOST),
        .frames = least(d->n_location_table, names, MOST),
        .stacks = least(d->n_stack_table * STACKS_A_SAMPLE, samples * STACKS_A_SAMPLE, MOST),
        .samples = least(samples, samples, MOST),
        .string_bytes = NAME_BYTES * (uint64_t)least(d->n_string_table, names, MOST)};
    return spy_profile_reserve(c->p, &n);
}

static int fill_profile(struct spy_otlp_decoder *c, struct scope *scope,
                        const Spy__Otlp__Profile *in, const uint8_t id[16])
{
    uint32_t series;
    struct spy_quality q = {0};
    struct spy_account account = {0};
    int r = check_decoded_profile(c, in);
    if (r == 0)
        r = decode_series(c, scope, type_apart(c, in, scope), &series);
    if (r == 0)
        r = read_quality(c, in, &q, &account);
    if (r < 0)
        return r;
    struct units u = units_of(c, in);
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
    return r < 0 ? r : spy_otlp_check_memory(c);
}

// OTLP: all zeroes are not an id, and the id may be left out.
static int id_of(struct spy_otlp_decoder *c, const Spy__Otlp__Profile *in, size_t number,
                 uint8_t ret[16])
{
    static const uint8_t zero[16];
    if (in->profile_id.len != 0 && in->profile_id.len != 16)
        return spy_otlp_bad(c, "a profile_id does not have 16 bytes");
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
static int decode_profile(struct spy_otlp_decoder *c, struct scope *scope,
                          const Spy__Otlp__Profile *in, struct spy_profile **ret)
{
    uint8_t id[16] = {0};
    int r = id_of(c, in, c->number - 1, id);
    if (r == 0)
        r = spy_otlp_step(c, PROFILE_STEPS);
    if (r < 0)
        return r;
    c->p = spy_profile_new_capped(&c->limits->caps);
    r = c->p ? reserve_tables(c, in->n_samples) : SPY_ERR_NOMEM;
    if (r == 0)
        r = fill_profile(c, scope, in, id);
    if (r == SPY_ERR_NOMEM)
        spy_err_set(c->err, r, 0, "out of memory");
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
    struct spy_otlp_rejected *rejected; // NULL: not allowed
};

static void list_free(struct list *l)
{
    for (size_t i = 0; i < l->n; i++)
        spy_profile_free(l->profiles[i]);
    free(l->profiles);
    l->profiles = NULL;
    l->n = 0;
}

// Leaves out a profile and reports it, if the caller wants that; else returns r.
static int reject_profile(struct list *out, const struct spy_err *why, int r)
{
    if (!out->rejected || (r != SPY_ERR_INVALID && r != SPY_ERR_UNSUPPORTED))
        return r;
    if (!out->rejected->n++)
        snprintf(out->rejected->reason, sizeof out->rejected->reason, "%s", why->msg);
    return 0;
}

// unnamed: why the resource does not identify a process; NULL: it does.
static int decode_scope(struct spy_otlp_decoder *c, const struct spy_otlp_labels *labels,
                        const struct spy_err *unnamed, const Spy__Otlp__ScopeProfiles *sp,
                        struct list *out)
{
    struct scope scope = {.labels = labels};
    for (size_t i = 0; i < sp->n_profiles; i++) {
        if (c->number++ == c->limits->profiles)
            return spy_err_set(c->err, SPY_ERR_LIMIT, 0, "more than %u profiles in one request",
                               c->limits->profiles);
        int r = spy_grow(&out->profiles, &out->cap, out->n + 1, sizeof *out->profiles,
                         SIZE_MAX / sizeof *out->profiles);
        if (r < 0)
            return spy_err_set(c->err, r, 0, "out of memory");
        if (unnamed)
            *c->err = *unnamed;
        r = unnamed ? unnamed->code
                    : decode_profile(c, &scope, sp->profiles[i], &out->profiles[out->n]);
        out->n += r == 0;
        if (r < 0 && (r = reject_profile(out, c->err, r)) < 0)
            return r;
    }
    return 0;
}

static int decode_all(struct spy_otlp_decoder *c,
                      const Spy__Otlp__ExportProfilesServiceRequest *req, struct spy_arena *arena,
                      struct list *out)
{
    struct spy_otlp_labels labels;
    for (size_t i = 0; i < req->n_resource_profiles; i++) {
        const Spy__Otlp__ResourceProfiles *rp = req->resource_profiles[i];
        int r = spy_otlp_labels(c, rp->resource, arena, &labels);
        if (r < 0 && r != SPY_ERR_INVALID)
            return r;
        const struct spy_err unnamed = *c->err;
        const bool named = r == 0;
        for (size_t k = 0; k < rp->n_scope_profiles; k++) {
            r = decode_scope(c, &labels, named ? NULL : &unnamed, rp->scope_profiles[k], out);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int decode_message(struct spy_otlp_decoder *c,
                          const Spy__Otlp__ExportProfilesServiceRequest *req,
                          struct spy_arena *arena, struct list *out)
{
    const Spy__Otlp__ProfilesDictionary *d = c->d;
    _cleanup_free_ struct spy_otlp_memo *strings = calloc(d->n_string_table + 1, sizeof *strings);
    _cleanup_free_ struct spy_otlp_memo *functions =
        calloc(d->n_function_table + 1, SPY_FRAME_KINDS * sizeof *functions);
    _cleanup_free_ struct spy_otlp_memo *stacks = calloc(d->n_stack_table + 1, sizeof *stacks);
    _cleanup_free_ struct spy_otlp_attribute *attributes =
        calloc(d->n_attribute_table + 1, sizeof *attributes);
    _cleanup_free_ struct spy_otlp_memo *locations =
        calloc(d->n_location_table + 1, sizeof *locations);
    _cleanup_free_ uint8_t *kinds = calloc(d->n_location_table + 1, 1);
    if (!strings || !functions || !stacks || !attributes || !locations || !kinds)
        return spy_err_nomem(c->err);
    c->locations = locations;
    c->strings = strings;
    c->functions = functions;
    c->stacks = stacks;
    c->attributes = attributes;
    c->kinds = kinds;
    int r = decode_all(c, req, arena, out);
    free(c->path);
    return r;
}

// --- bytes to a message ---

struct unpacking {
    struct spy_arena arena;
    json_t *text; // of the JSON form; NULL: none
    bool refused; // an allocation did not fit
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
    json_decref(u->text);
}

static int unpack_request(struct spy_otlp_decoder *c, const uint8_t *data, size_t len,
                          struct unpacking *u, Spy__Otlp__ExportProfilesServiceRequest **ret)
{
    ProtobufCAllocator allocator = {arena_alloc, arena_ignore, u};
    if (spy_otlp_nests_too_deep(data, len))
        return spy_otlp_bad(c, "it is nested too deeply");
    _cleanup_free_ uint8_t *renumbered = NULL;
    if (spy_otlp_is_older(data, len)) {
        if (!(renumbered = malloc(len)))
            return spy_err_nomem(c->err);
        memcpy(renumbered, data, len);
        spy_otlp_renumber(renumbered, len);
        data = renumbered;
    }
    *ret = spy__otlp__export_profiles_service_request__unpack(&allocator, len, data);
    if (!*ret && u->refused)
        return spy_err_set(c->err, SPY_ERR_LIMIT, 0, "the request takes too much memory to decode");
    return *ret ? 0 : spy_otlp_bad(c, "the protobuf message is damaged or cut off");
}

static uint64_t steps_of(const struct spy_otlp_limits *limits, size_t len)
{
    uint64_t steps = limits->steps ? limits->steps + (uint64_t)limits->steps_per_byte * len : 0;
    return limits->steps_most && steps > limits->steps_most ? limits->steps_most : steps;
}

int spy_otlp_decode(enum spy_otlp_form form, const uint8_t *data, size_t len,
                    const struct spy_otlp_limits *limits, struct spy_profile ***ret, size_t *ret_n,
                    struct spy_otlp_rejected *rejected, struct spy_err *err)
{
    static const Spy__Otlp__ProfilesDictionary no_dictionary = SPY__OTLP__PROFILES_DICTIONARY__INIT;
    _cleanup_(unpacking_done) struct unpacking u = {
        .arena = SPY_ARENA_INIT(limits->arena_bytes),
    };
    struct spy_err why = {0};
    struct spy_otlp_decoder c = {.limits = limits, .err = &why, .steps_max = steps_of(limits, len)};
    Spy__Otlp__ExportProfilesServiceRequest *req = NULL;
    struct spy_otlp_rejected left_out = {0};
    struct list out = {.rejected = rejected ? &left_out : NULL};
    if (len > limits->message_bytes)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "the request is larger than %zu bytes",
                           limits->message_bytes);
    int r = form == SPY_OTLP_JSON
                ? spy_otlp_from_json((const char *)data, len, &u.arena, &req, &u.text, &why)
                : unpack_request(&c, data, len, &u, &req);
    if (r == 0) {
        c.body = XXH3_128bits(data, len);
        c.d = req->dictionary ? req->dictionary : &no_dictionary;
        r = decode_message(&c, req, &u.arena, &out);
    }
    if (r < 0 || !out.n)
        list_free(&out);
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    if (rejected)
        *rejected = left_out;
    *ret = out.profiles;
    *ret_n = out.n;
    return 0;
}
