#include "shared/base/arena.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/otlp/attributes.h"
#include "shared/otlp/otlp.h"
#include <podspy_otlp.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_MAX = 1 << 30, TABLE_MAX = 1 << 26, NUMBER = 24 };

// The growing dictionary: pointer tables in protobuf-c's form.
struct table {
    void **rows;
    size_t n, cap;
};

struct encoder {
    const struct spy_profile *p;
    struct spy_arena arena;
    struct table strings, functions, locations, stacks, attributes;
    struct spy_map string_map, attribute_map;
    int32_t *function_ids, *location_ids, *stack_ids; // by the profile's ids; 0: not yet
    int32_t (*thread_ids)[2];                         // attributes: id and name
    int32_t state_ids[SPY_ACTIVITIES], gil_ids[3], gc_id;
    int failed; // the first failure; later calls do nothing
};

static void *alloc_encoded(struct encoder *e, size_t size)
{
    void *p = e->failed ? NULL : spy_arena_alloc(&e->arena, size);
    if (!p && !e->failed)
        e->failed = SPY_ERR_NOMEM;
    return p;
}

static int32_t push_pointer(struct encoder *e, struct table *t, void *row)
{
    if (!row || e->failed)
        return 0;
    int r = spy_grow(&t->rows, &t->cap, t->n + 1, sizeof *t->rows, TABLE_MAX);
    if (r < 0) {
        e->failed = r;
        return 0;
    }
    t->rows[t->n] = row;
    return (int32_t)t->n++;
}

static int32_t add_string(struct encoder *e, const char *s)
{
    uint64_t hash = spy_hash_bytes(s, strlen(s));
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&e->string_map, hash, &at)) != SPY_MAP_NONE;)
        if (!strcmp(e->strings.rows[i], s))
            return (int32_t)i;
    // Texts live in the profile or in string constants; protobuf-c only reads them.
    int32_t id = push_pointer(e, &e->strings, (void *)(uintptr_t)s); // NOLINT
    if (!e->failed && spy_map_add(&e->string_map, hash, (uint32_t)id) < 0)
        e->failed = SPY_ERR_NOMEM;
    return id;
}

static int32_t profile_string(struct encoder *e, uint32_t string)
{
    return string ? add_string(e, spy_profile_text(e->p, string)) : 0;
}

// --- attributes ---

static Spy__Otlp__AnyValue *any_string(struct encoder *e, const char *s)
{
    Spy__Otlp__AnyValue *v = alloc_encoded(e, sizeof *v);
    if (v) {
        spy__otlp__any_value__init(v);
        v->value_case = SPY__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        v->string_value = (char *)(uintptr_t)s; // NOLINT: only read
    }
    return v;
}

static Spy__Otlp__AnyValue *any_int(struct encoder *e, int64_t n)
{
    Spy__Otlp__AnyValue *v = alloc_encoded(e, sizeof *v);
    if (v) {
        spy__otlp__any_value__init(v);
        v->value_case = SPY__OTLP__ANY_VALUE__VALUE_INT_VALUE;
        v->int_value = n;
    }
    return v;
}

static bool same_value(const Spy__Otlp__AnyValue *a, const Spy__Otlp__AnyValue *b)
{
    if (a->value_case != b->value_case)
        return false;
    return a->value_case == SPY__OTLP__ANY_VALUE__VALUE_STRING_VALUE
               ? !strcmp(a->string_value, b->string_value)
               : a->int_value == b->int_value;
}

static int32_t add_attribute(struct encoder *e, const char *key, Spy__Otlp__AnyValue *value)
{
    int32_t key_id = add_string(e, key);
    if (!value || e->failed)
        return 0;
    uint64_t hash = spy_hash_mix(
        (uint64_t)key_id, value->value_case == SPY__OTLP__ANY_VALUE__VALUE_STRING_VALUE
                              ? spy_hash_bytes(value->string_value, strlen(value->string_value))
                              : (uint64_t)value->int_value);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&e->attribute_map, hash, &at)) != SPY_MAP_NONE;) {
        const Spy__Otlp__KeyValueAndUnit *kv = e->attributes.rows[i];
        if (kv->key_strindex == key_id && kv->value && same_value(kv->value, value))
            return (int32_t)i;
    }
    Spy__Otlp__KeyValueAndUnit *kv = alloc_encoded(e, sizeof *kv);
    if (!kv)
        return 0;
    spy__otlp__key_value_and_unit__init(kv);
    kv->key_strindex = key_id;
    kv->value = value;
    int32_t id = push_pointer(e, &e->attributes, kv);
    if (!e->failed && spy_map_add(&e->attribute_map, hash, (uint32_t)id) < 0)
        e->failed = SPY_ERR_NOMEM;
    return id;
}

// --- the dictionary ---

static int32_t add_function(struct encoder *e, uint32_t id)
{
    if (e->function_ids[id])
        return e->function_ids[id];
    const struct spy_function *f = spy_profile_function_at(e->p, id);
    Spy__Otlp__Function *out = alloc_encoded(e, sizeof *out);
    if (!out)
        return 0;
    spy__otlp__function__init(out);
    out->name_strindex = profile_string(e, f->name);
    out->filename_strindex = profile_string(e, f->filename);
    out->start_line = f->start_line;
    if (f->kind != SPY_FRAME_PYTHON)
        out->system_name_strindex =
            add_string(e, f->kind == SPY_FRAME_MARKER ? SPY_SYSTEM_MARKER : SPY_SYSTEM_NATIVE);
    return e->function_ids[id] = push_pointer(e, &e->functions, out);
}

static int32_t add_location(struct encoder *e, uint32_t frame)
{
    if (e->location_ids[frame])
        return e->location_ids[frame];
    const struct spy_frame *f = spy_profile_frame_at(e->p, frame);
    Spy__Otlp__Location *out = alloc_encoded(e, sizeof *out);
    Spy__Otlp__Line *line = alloc_encoded(e, sizeof *line);
    Spy__Otlp__Line **lines = alloc_encoded(e, sizeof *lines);
    if (!out || !line || !lines)
        return 0;
    spy__otlp__location__init(out);
    spy__otlp__line__init(line);
    line->function_index = add_function(e, f->function);
    line->line = f->line;
    lines[0] = line;
    out->lines = lines;
    out->n_lines = 1;
    return e->location_ids[frame] = push_pointer(e, &e->locations, out);
}

static int32_t encode_stack(struct encoder *e, uint32_t stack)
{
    if (!stack || e->stack_ids[stack])
        return stack ? e->stack_ids[stack] : 0;
    size_t n = 0, i = 0;
    for (uint32_t s = stack; s; s = spy_profile_stack_at(e->p, s)->parent)
        n++;
    Spy__Otlp__Stack *out = alloc_encoded(e, sizeof *out);
    int32_t *ids = alloc_encoded(e, n * sizeof *ids);
    if (!out || !ids)
        return 0;
    for (uint32_t s = stack; s; s = spy_profile_stack_at(e->p, s)->parent)
        ids[i++] = add_location(e, spy_profile_stack_at(e->p, s)->frame);
    spy__otlp__stack__init(out);
    out->location_indices = ids;
    out->n_location_indices = n;
    return e->stack_ids[stack] = push_pointer(e, &e->stacks, out);
}

// --- samples, profiles, resources ---

static void add_thread(struct encoder *e, uint32_t thread)
{
    const struct spy_thread *t = spy_profile_thread_at(e->p, thread);
    if (e->thread_ids[thread][0] || !thread)
        return;
    e->thread_ids[thread][0] = add_attribute(e, SPY_ATTR_THREAD_ID, any_int(e, (int64_t)t->tid));
    e->thread_ids[thread][1] =
        add_attribute(e, SPY_ATTR_THREAD_NAME, any_string(e, spy_profile_text(e->p, t->name)));
}

static Spy__Otlp__Sample *make_sample(struct encoder *e, const struct spy_sample *s)
{
    enum { ATTRIBUTES_MAX = 5 };
    Spy__Otlp__Sample *out = alloc_encoded(e, sizeof *out);
    int32_t *attributes = alloc_encoded(e, ATTRIBUTES_MAX * sizeof *attributes);
    int64_t *value = alloc_encoded(e, sizeof *value);
    if (!out || !attributes || !value)
        return NULL;
    size_t n = 0;
    add_thread(e, s->thread);
    if (s->thread) {
        attributes[n++] = e->thread_ids[s->thread][0];
        attributes[n++] = e->thread_ids[s->thread][1];
    }
    attributes[n++] = e->state_ids[spy_state_activity(s->state)];
    attributes[n++] = e->gil_ids[s->state & SPY_STATE_GIL_HOLDS   ? 1
                                 : s->state & SPY_STATE_GIL_WAITS ? 2
                                                                  : 0];
    if (s->state & SPY_STATE_GC)
        attributes[n++] = e->gc_id;
    spy__otlp__sample__init(out);
    out->stack_index = encode_stack(e, s->stack);
    out->attribute_indices = attributes;
    out->n_attribute_indices = n;
    *value = s->count < INT64_MAX ? (int64_t)s->count : INT64_MAX;
    out->values = value;
    out->n_values = 1;
    return e->failed ? NULL : out;
}

static int64_t clamp_int64(uint64_t n)
{
    return n < INT64_MAX ? (int64_t)n : INT64_MAX;
}

// Adds the quality counters that are not 0, and the kernel's sums that are known.
static void add_facts(struct encoder *e, const struct spy_series *s, Spy__Otlp__Profile *out)
{
    const struct spy_quality *q = &s->quality;
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {
#define ROW(name, ...) {SPY_ATTR_QUALITY #name, q->name},
        SPY_QUALITY(ROW)
#undef ROW
    };
    int32_t *ids = alloc_encoded(e, (SPY_COUNT(rows) + SPY_COUNTERS) * sizeof *ids);
    size_t n = 0;
    for (size_t i = 0; ids && i < SPY_COUNT(rows); i++)
        if (rows[i].value)
            ids[n++] = add_attribute(e, rows[i].key, any_int(e, clamp_int64(rows[i].value)));
    for (int c = 0; ids && c < SPY_COUNTERS; c++)
        if (spy_account_knows(&s->account, c))
            ids[n++] = add_attribute(e, spy_counter_names[c].attribute,
                                     any_int(e, clamp_int64(s->account.counted[c].sum)));
    out->attribute_indices = ids;
    out->n_attribute_indices = n;
}

static Spy__Otlp__ValueType *value_type(struct encoder *e, const char *type, const char *unit)
{
    Spy__Otlp__ValueType *v = alloc_encoded(e, sizeof *v);
    if (!v)
        return NULL;
    spy__otlp__value_type__init(v);
    v->type_strindex = add_string(e, type);
    v->unit_strindex = add_string(e, unit);
    return v;
}

static Spy__Otlp__Profile *make_profile(struct encoder *e, uint32_t series, size_t n_samples)
{
    const struct spy_series *s = spy_profile_series_get(e->p, series);
    Spy__Otlp__Profile *out = alloc_encoded(e, sizeof *out);
    uint8_t *id = alloc_encoded(e, sizeof s->profile_id);
    Spy__Otlp__Sample **samples = alloc_encoded(e, (n_samples + 1) * sizeof *samples);
    if (!out || !id || !samples)
        return NULL;
    spy__otlp__profile__init(out);
    memcpy(id, s->profile_id, sizeof s->profile_id);
    out->profile_id.data = id;
    out->profile_id.len = sizeof s->profile_id;
    out->time_unix_nano = s->start_ns;
    out->duration_nano = s->duration_ns;
    const char *type = spy_profile_series_label(e->p, series, SPY_LABEL_SAMPLE_TYPE);
    out->sample_type = value_type(e, type ? type : "samples", "count");
    out->period_type = value_type(e, "wall", "nanoseconds");
    out->period = clamp_int64(s->period_ns);
    out->samples = samples;
    add_facts(e, s, out);
    return out;
}

static bool is_number_label(const char *key)
{
    return !strcmp(key, SPY_LABEL_PID) || !strcmp(key, SPY_LABEL_NS_PID) ||
           !strcmp(key, SPY_LABEL_PARENT_PID);
}

static Spy__Otlp__AnyValue *label_value(struct encoder *e, const char *key, const char *value)
{
    // A number only if it prints as the same text: not " 7", "007" or a number that is too large.
    char again[NUMBER];
    long long n = strtoll(value, NULL, 10);
    snprintf(again, sizeof again, "%lld", n);
    return is_number_label(key) && !strcmp(again, value) ? any_int(e, n) : any_string(e, value);
}

static Spy__Otlp__Resource *make_resource(struct encoder *e, uint32_t series)
{
    const struct spy_series *s = spy_profile_series_get(e->p, series);
    Spy__Otlp__Resource *out = alloc_encoded(e, sizeof *out);
    Spy__Otlp__KeyValue **list = alloc_encoded(e, (s->n_labels + 1u) * sizeof *list);
    if (!out || !list)
        return NULL;
    spy__otlp__resource__init(out);
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct spy_label *l = spy_profile_label_at(e->p, s->first_label + i);
        const char *key = spy_profile_text(e->p, l->key);
        Spy__Otlp__KeyValue *kv = list[i] = alloc_encoded(e, sizeof *kv);
        if (!kv)
            return NULL;
        spy__otlp__key_value__init(kv);
        kv->key = (char *)(uintptr_t)key; // NOLINT: only read
        kv->value = label_value(e, key, spy_profile_text(e->p, l->value));
    }
    out->attributes = list;
    out->n_attributes = s->n_labels;
    return out;
}

static Spy__Otlp__ResourceProfiles *make_resource_profiles(struct encoder *e, uint32_t series,
                                                           Spy__Otlp__Profile *profile)
{
    Spy__Otlp__ResourceProfiles *rp = alloc_encoded(e, sizeof *rp);
    Spy__Otlp__ScopeProfiles *sp = alloc_encoded(e, sizeof *sp),
                             **sps = alloc_encoded(e, sizeof *sps);
    Spy__Otlp__InstrumentationScope *scope = alloc_encoded(e, sizeof *scope);
    Spy__Otlp__Profile **profiles = alloc_encoded(e, sizeof *profiles);
    if (!rp || !sp || !sps || !scope || !profiles)
        return NULL;
    spy__otlp__resource_profiles__init(rp);
    spy__otlp__scope_profiles__init(sp);
    spy__otlp__instrumentation_scope__init(scope);
    scope->name = (char *)"podspy";
    scope->version = (char *)PODSPY_VERSION;
    profiles[0] = profile;
    sp->scope = scope;
    sp->profiles = profiles;
    sp->n_profiles = 1;
    sps[0] = sp;
    rp->scope_profiles = sps;
    rp->n_scope_profiles = 1;
    rp->resource = make_resource(e, series);
    return rp;
}

// Entry 0 of every table is the zero value.
static void zero_entries(struct encoder *e)
{
    Spy__Otlp__Function *f = alloc_encoded(e, sizeof *f);
    Spy__Otlp__Location *l = alloc_encoded(e, sizeof *l);
    Spy__Otlp__Stack *s = alloc_encoded(e, sizeof *s);
    Spy__Otlp__KeyValueAndUnit *a = alloc_encoded(e, sizeof *a);
    if (!f || !l || !s || !a)
        return;
    spy__otlp__function__init(f);
    spy__otlp__location__init(l);
    spy__otlp__stack__init(s);
    spy__otlp__key_value_and_unit__init(a);
    push_pointer(e, &e->functions, f);
    push_pointer(e, &e->locations, l);
    push_pointer(e, &e->stacks, s);
    push_pointer(e, &e->attributes, a);
    add_string(e, "");
    for (size_t i = 0; i < SPY_ACTIVITIES; i++)
        e->state_ids[i] = add_attribute(e, SPY_ATTR_STATE, any_string(e, spy_activity_names[i]));
    e->gil_ids[0] = add_attribute(e, SPY_ATTR_GIL, any_string(e, "none"));
    e->gil_ids[1] = add_attribute(e, SPY_ATTR_GIL, any_string(e, "holds"));
    e->gil_ids[2] = add_attribute(e, SPY_ATTR_GIL, any_string(e, "waits"));
    e->gc_id = add_attribute(e, SPY_ATTR_GC, any_int(e, 1));
}

static int prepare_encoder(struct encoder *e)
{
    e->arena = SPY_ARENA_INIT(ARENA_MAX);
    e->function_ids =
        alloc_encoded(e, (spy_profile_n_functions(e->p) + 1u) * sizeof *e->function_ids);
    e->location_ids = alloc_encoded(e, (spy_profile_n_frames(e->p) + 1u) * sizeof *e->location_ids);
    e->stack_ids = alloc_encoded(e, (spy_profile_n_stacks(e->p) + 1u) * sizeof *e->stack_ids);
    e->thread_ids = alloc_encoded(e, (spy_profile_n_threads(e->p) + 1u) * sizeof *e->thread_ids);
    zero_entries(e);
    return e->failed;
}

static bool has_id(const struct encoder *e, uint32_t series)
{
    static const uint8_t zero[16];
    return memcmp(spy_profile_series_get(e->p, series)->profile_id, zero, sizeof zero) != 0;
}

// series: n ascending numbers; NULL: all.
static void build_request(struct encoder *e, const uint32_t *series, size_t n,
                          Spy__Otlp__ExportProfilesServiceRequest *request)
{
    uint32_t n_series = spy_profile_n_series(e->p), n_samples = spy_profile_n_samples(e->p);
    Spy__Otlp__Profile **by_series = alloc_encoded(e, (n_series + 1u) * sizeof *by_series);
    size_t *counts = alloc_encoded(e, (n_series + 1u) * sizeof *counts);
    request->resource_profiles =
        alloc_encoded(e, (n_series + 1u) * sizeof *request->resource_profiles);
    for (uint32_t i = 0; i < n_samples && !e->failed; i++)
        counts[spy_profile_sample_at(e->p, i)->series]++;
    for (size_t i = 0; i < (series ? n : n_series) && !e->failed; i++) {
        uint32_t id = series ? series[i] : (uint32_t)i;
        if (!has_id(e, id))
            continue;
        by_series[id] = make_profile(e, id, counts[id]);
        request->resource_profiles[request->n_resource_profiles++] =
            make_resource_profiles(e, id, by_series[id]);
    }
    for (uint32_t i = 0; i < n_samples && !e->failed; i++) {
        const struct spy_sample *s = spy_profile_sample_at(e->p, i);
        Spy__Otlp__Profile *p = by_series[s->series];
        if (p)
            p->samples[p->n_samples++] = make_sample(e, s);
    }
}

static int pack_request(struct encoder *e, Spy__Otlp__ExportProfilesServiceRequest *request,
                        struct spy_buf *out)
{
    Spy__Otlp__ProfilesDictionary d = SPY__OTLP__PROFILES_DICTIONARY__INIT;
    Spy__Otlp__Mapping mapping = SPY__OTLP__MAPPING__INIT, *mappings[] = {&mapping};
    Spy__Otlp__Link link = SPY__OTLP__LINK__INIT, *links[] = {&link};
    d.mapping_table = mappings;
    d.n_mapping_table = 1;
    d.link_table = links;
    d.n_link_table = 1;
    d.string_table = (char **)e->strings.rows;
    d.n_string_table = e->strings.n;
    d.function_table = (Spy__Otlp__Function **)e->functions.rows;
    d.n_function_table = e->functions.n;
    d.location_table = (Spy__Otlp__Location **)e->locations.rows;
    d.n_location_table = e->locations.n;
    d.stack_table = (Spy__Otlp__Stack **)e->stacks.rows;
    d.n_stack_table = e->stacks.n;
    d.attribute_table = (Spy__Otlp__KeyValueAndUnit **)e->attributes.rows;
    d.n_attribute_table = e->attributes.n;
    request->dictionary = &d;
    size_t n = spy__otlp__export_profiles_service_request__get_packed_size(request);
    uint8_t *to = spy_buf_reserve(out, n);
    if (!to)
        return out->failed;
    spy_buf_commit(out, spy__otlp__export_profiles_service_request__pack(request, to));
    return 0;
}

int spy_otlp_encode(const struct spy_profile *p, const uint32_t *series, size_t n,
                    struct spy_buf *out, struct spy_err *err)
{
    struct encoder e = {.p = p};
    Spy__Otlp__ExportProfilesServiceRequest request =
        SPY__OTLP__EXPORT_PROFILES_SERVICE_REQUEST__INIT;
    int r = prepare_encoder(&e);
    if (r == 0) {
        build_request(&e, series, n, &request);
        r = e.failed ? e.failed : pack_request(&e, &request, out);
    }
    spy_arena_free(&e.arena);
    free(e.strings.rows);
    free(e.functions.rows);
    free(e.locations.rows);
    free(e.stacks.rows);
    free(e.attributes.rows);
    spy_map_free(&e.string_map);
    spy_map_free(&e.attribute_map);
    if (r < 0)
        return spy_err_set(err, r, 0, "cannot encode the window: %s", spy_code_name(r));
    return 0;
}
