#include "shared/profile/profile.h"
#include "shared/base/buf.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_ENTRIES = 1 << 28 };

struct text {
    uint64_t at; // offset of the bytes in `bytes`
    uint32_t len;
};

// One interning table: rows of one size, found by hash.
struct table {
    void *rows;
    size_t cap;
    uint32_t n, max;
    struct spy_map map;
};

struct spy_profile {
    struct table strings, functions, frames, stacks, threads, series, samples;
    char *bytes;
    size_t bytes_len, bytes_cap;
    uint64_t bytes_max;
    struct spy_label *labels;
    size_t labels_len, labels_cap;
};

static uint32_t cap_or_default(uint32_t cap)
{
    return cap && cap < MAX_ENTRIES ? cap : MAX_ENTRIES;
}

static int table_push(struct table *t, const void *row, size_t size, uint64_t hash, uint32_t *ret)
{
    int r = spy_grow(&t->rows, &t->cap, (size_t)t->n + 1, size, t->max);
    if (r == 0)
        r = spy_map_add(&t->map, hash, t->n);
    if (r < 0)
        return r;
    memcpy((char *)t->rows + (size_t)t->n * size, row, size);
    *ret = t->n++;
    return 0;
}

// For rows without padding, which are equal if their bytes are.
static int table_intern(struct table *t, const void *row, size_t size, uint64_t hash, uint32_t *ret)
{
    for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(&t->map, hash, &at)) != SPY_MAP_NONE;)
        if (!memcmp((char *)t->rows + (size_t)i * size, row, size)) {
            *ret = i;
            return 0;
        }
    return table_push(t, row, size, hash, ret);
}

static void table_free(struct table *t)
{
    free(t->rows);
    spy_map_free(&t->map);
}

struct spy_profile *spy_profile_new_capped(const struct spy_profile_caps *caps)
{
    struct spy_profile *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->strings.max = cap_or_default(caps->strings);
    p->functions.max = cap_or_default(caps->functions);
    p->frames.max = cap_or_default(caps->frames);
    p->stacks.max = cap_or_default(caps->stacks);
    p->threads.max = cap_or_default(caps->threads);
    p->series.max = cap_or_default(caps->series);
    p->samples.max = cap_or_default(caps->samples);
    p->bytes_max =
        caps->string_bytes && caps->string_bytes < UINT32_MAX ? caps->string_bytes : UINT32_MAX;
    uint32_t id;
    struct spy_stack root = {0, 0};
    struct spy_thread nobody = {0, 0};
    if (spy_profile_string(p, "", 0, &id) < 0 ||
        table_push(&p->stacks, &root, sizeof root, 0, &id) < 0 ||
        spy_profile_thread(p, nobody.tid, nobody.name, &id) < 0) {
        spy_profile_free(p);
        return NULL;
    }
    return p;
}

struct spy_profile *spy_profile_new(void)
{
    return spy_profile_new_capped(&(struct spy_profile_caps){0});
}

static int table_reserve(struct table *t, size_t size, uint32_t n)
{
    n = n < t->max ? n : t->max;
    int r = n > t->n ? spy_grow(&t->rows, &t->cap, n, size, t->max) : 0;
    return r < 0 || n <= t->n ? r : spy_map_reserve(&t->map, n);
}

int spy_profile_reserve(struct spy_profile *p, const struct spy_profile_caps *n)
{
    size_t bytes = n->string_bytes < p->bytes_max ? (size_t)n->string_bytes : (size_t)p->bytes_max;
    int r = spy_grow(&p->bytes, &p->bytes_cap, bytes, 1, p->bytes_max);
    const struct {
        struct table *table;
        size_t size;
        uint32_t n;
    } rows[] = {{&p->strings, sizeof(struct text), n->strings},
                {&p->functions, sizeof(struct spy_function), n->functions},
                {&p->frames, sizeof(struct spy_frame), n->frames},
                {&p->stacks, sizeof(struct spy_stack), n->stacks},
                {&p->threads, sizeof(struct spy_thread), n->threads},
                {&p->samples, sizeof(struct spy_sample), n->samples}};
    for (size_t i = 0; i < SPY_COUNT(rows) && r == 0; i++)
        r = table_reserve(rows[i].table, rows[i].size, rows[i].n);
    return r;
}

void spy_profile_free(struct spy_profile *p)
{
    if (!p)
        return;
    table_free(&p->strings);
    table_free(&p->functions);
    table_free(&p->frames);
    table_free(&p->stacks);
    table_free(&p->threads);
    table_free(&p->series);
    table_free(&p->samples);
    free(p->bytes);
    free(p->labels);
    free(p);
}

static const struct text *text_at(const struct spy_profile *p, uint32_t id)
{
    return &((const struct text *)p->strings.rows)[id];
}

// Whether eight bytes are ASCII without a NUL, as nearly all text is: checking characters one by one
// is most of the cost of a long name. (x - 1 sets the top bit of a byte only if the byte was 0, or of
// a byte above such a byte.)
static bool is_ascii_word(const char *s)
{
    uint64_t word;
    memcpy(&word, s, sizeof word);
    return !((word | (word - UINT64_C(0x0101010101010101))) & UINT64_C(0x8080808080808080));
}

static bool is_clean(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        if (len - i >= 8 && is_ascii_word(s + i)) {
            i += 8;
            continue;
        }
        size_t n = s[i] ? spy_utf8_len(s + i, len - i) : 0;
        if (!n)
            return false;
        i += n;
    }
    return true;
}

static int intern_clean(struct spy_profile *p, const char *s, size_t len, uint32_t *ret)
{
    uint64_t hash = spy_hash_bytes(s, len);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&p->strings.map, hash, &at)) != SPY_MAP_NONE;) {
        const struct text *t = text_at(p, i);
        if (t->len == len && !memcmp(p->bytes + t->at, s, len)) {
            *ret = i;
            return 0;
        }
    }
    int r = spy_grow(&p->bytes, &p->bytes_cap, p->bytes_len + len + 1, 1, p->bytes_max);
    if (r < 0)
        return r;
    struct text t = {p->bytes_len, (uint32_t)len};
    if (len)
        memcpy(p->bytes + t.at, s, len);
    p->bytes[t.at + len] = 0;
    r = table_push(&p->strings, &t, sizeof t, hash, ret);
    if (r == 0)
        p->bytes_len += len + 1;
    return r;
}

int spy_profile_string(struct spy_profile *p, const char *s, size_t len, uint32_t *ret)
{
    if (len >= UINT32_MAX)
        return SPY_ERR_LIMIT;
    if (is_clean(s, len))
        return intern_clean(p, s, len, ret);
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(len * 3);
    for (size_t i = 0; i < len;) {
        size_t n = s[i] ? spy_utf8_len(s + i, len - i) : 0;
        spy_buf_append(&b, n ? s + i : "\xef\xbf\xbd", n ? n : 3);
        i += n ? n : 1;
    }
    return b.failed ? b.failed : intern_clean(p, spy_buf_str(&b), b.len, ret);
}

int spy_profile_cstr(struct spy_profile *p, const char *s, uint32_t *ret)
{
    return spy_profile_string(p, s, strlen(s), ret);
}

int spy_profile_function(struct spy_profile *p, const struct spy_function *f, uint32_t *ret)
{
    if (f->name >= p->strings.n || f->filename >= p->strings.n || f->kind > SPY_FRAME_MARKER)
        return SPY_ERR_INVALID;
    uint64_t hash =
        spy_hash_mix(spy_hash_mix(f->name, f->filename), (uint64_t)f->start_line << 32 | f->kind);
    return table_intern(&p->functions, f, sizeof *f, hash, ret);
}

int spy_profile_frame(struct spy_profile *p, struct spy_frame f, uint32_t *ret)
{
    if (f.function >= p->functions.n)
        return SPY_ERR_INVALID;
    return table_intern(&p->frames, &f, sizeof f, spy_hash_mix(f.function, f.line), ret);
}

int spy_profile_stack(struct spy_profile *p, uint32_t parent, uint32_t frame, uint32_t *ret)
{
    if (parent >= p->stacks.n || frame >= p->frames.n)
        return SPY_ERR_INVALID;
    struct spy_stack s = {parent, frame};
    uint64_t hash = spy_hash_mix(parent, frame);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&p->stacks.map, hash, &at)) != SPY_MAP_NONE;)
        if (i && !memcmp(spy_profile_stack_at(p, i), &s, sizeof s)) {
            *ret = i;
            return 0;
        }
    return table_push(&p->stacks, &s, sizeof s, hash, ret);
}

int spy_profile_thread(struct spy_profile *p, uint64_t tid, uint32_t name, uint32_t *ret)
{
    if (name >= p->strings.n)
        return SPY_ERR_INVALID;
    struct spy_thread t;
    memset(&t, 0, sizeof t); // the padding takes part in the comparison
    t.tid = tid;
    t.name = name;
    return table_intern(&p->threads, &t, sizeof t, spy_hash_mix(tid, name), ret);
}

static int compare_keys(const void *a, const void *b, void *profile)
{
    const struct spy_label *x = a, *y = b;
    return strcmp(spy_profile_text(profile, x->key), spy_profile_text(profile, y->key));
}

int spy_profile_series(struct spy_profile *p, const struct spy_label *labels, size_t n,
                       uint32_t *ret)
{
    struct spy_label sorted[SPY_LABELS_MAX];
    if (n > SPY_LABELS_MAX)
        return SPY_ERR_LIMIT;
    for (size_t i = 0; i < n; i++) {
        if (labels[i].key >= p->strings.n || labels[i].value >= p->strings.n)
            return SPY_ERR_INVALID;
        sorted[i] = labels[i];
    }
    qsort_r(sorted, n, sizeof *sorted, compare_keys, p);
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++) {
        if (i && sorted[i].key == sorted[i - 1].key)
            return SPY_ERR_INVALID;
        hash = spy_hash_mix(hash, (uint64_t)sorted[i].key << 32 | sorted[i].value);
    }
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&p->series.map, hash, &at)) != SPY_MAP_NONE;) {
        const struct spy_series *s = spy_profile_series_get(p, i);
        if (s->n_labels == n && !memcmp(p->labels + s->first_label, sorted, n * sizeof *sorted)) {
            *ret = i;
            return 0;
        }
    }
    int r =
        spy_grow(&p->labels, &p->labels_cap, p->labels_len + n + 1, sizeof *p->labels, MAX_ENTRIES);
    if (r < 0)
        return r;
    memcpy(p->labels + p->labels_len, sorted, n * sizeof *sorted);
    struct spy_series s = {.first_label = (uint32_t)p->labels_len, .n_labels = (uint32_t)n};
    r = table_push(&p->series, &s, sizeof s, hash, ret);
    if (r == 0)
        p->labels_len += n;
    return r;
}

const char *const spy_activity_names[SPY_ACTIVITIES] = {"waiting", "running", "runnable"};

bool spy_state_is_valid(uint32_t state)
{
    const uint32_t both = SPY_STATE_RUNNING | SPY_STATE_RUNNABLE;
    return state <= SPY_STATE_ALL && (state & both) != both;
}

int spy_profile_add(struct spy_profile *p, uint32_t series, uint32_t stack, uint32_t thread,
                    uint32_t state, uint64_t count, uint64_t ns)
{
    if (series >= p->series.n || stack >= p->stacks.n || thread >= p->threads.n ||
        !spy_state_is_valid(state))
        return SPY_ERR_INVALID;
    uint64_t hash = spy_hash_mix((uint64_t)series << 32 | stack, (uint64_t)thread << 8 | state);
    struct spy_sample *rows = p->samples.rows;
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&p->samples.map, hash, &at)) != SPY_MAP_NONE;) {
        struct spy_sample *s = &rows[i];
        if (s->series == series && s->stack == stack && s->thread == thread && s->state == state) {
            s->count = spy_add_sat(s->count, count);
            s->ns = spy_add_sat(s->ns, ns);
            return 0;
        }
    }
    struct spy_sample s = {series, stack, thread, state, count, ns};
    uint32_t id;
    return table_push(&p->samples, &s, sizeof s, hash, &id);
}

int spy_profile_restack(struct spy_profile *p, spy_restack_fn fn, void *arg)
{
    _cleanup_free_ struct spy_sample *old = p->samples.rows;
    uint32_t n = p->samples.n;
    p->samples.rows = NULL;
    p->samples.cap = p->samples.n = 0;
    spy_map_clear(&p->samples.map);
    int r = 0;
    for (uint32_t i = 0; i < n && r == 0; i++) {
        uint32_t stack = fn(arg, &old[i]);
        if (stack != SPY_STACK_NONE)
            r = spy_profile_add(p, old[i].series, stack, old[i].thread, old[i].state, old[i].count,
                                old[i].ns);
    }
    return r;
}

#define COUNTS(X) X(strings) X(functions) X(frames) X(stacks) X(threads) X(series) X(samples)
#define DEFINE_COUNT(name)                                                                         \
    uint32_t spy_profile_n_##name(const struct spy_profile *p)                                     \
    {                                                                                              \
        return p->name.n;                                                                          \
    }
COUNTS(DEFINE_COUNT)

const char *spy_profile_text(const struct spy_profile *p, uint32_t string)
{
    return p->bytes + text_at(p, string)->at;
}

size_t spy_profile_text_len(const struct spy_profile *p, uint32_t string)
{
    return text_at(p, string)->len;
}

const struct spy_function *spy_profile_function_at(const struct spy_profile *p, uint32_t id)
{
    return &((const struct spy_function *)p->functions.rows)[id];
}

const struct spy_frame *spy_profile_frame_at(const struct spy_profile *p, uint32_t id)
{
    return &((const struct spy_frame *)p->frames.rows)[id];
}

const struct spy_stack *spy_profile_stack_at(const struct spy_profile *p, uint32_t id)
{
    return &((const struct spy_stack *)p->stacks.rows)[id];
}

const struct spy_thread *spy_profile_thread_at(const struct spy_profile *p, uint32_t id)
{
    return &((const struct spy_thread *)p->threads.rows)[id];
}

const struct spy_label *spy_profile_label_at(const struct spy_profile *p, uint32_t index)
{
    return &p->labels[index];
}

const struct spy_sample *spy_profile_sample_at(const struct spy_profile *p, uint32_t id)
{
    return &((const struct spy_sample *)p->samples.rows)[id];
}

struct spy_series *spy_profile_series_at(struct spy_profile *p, uint32_t id)
{
    return &((struct spy_series *)p->series.rows)[id];
}

const struct spy_series *spy_profile_series_get(const struct spy_profile *p, uint32_t id)
{
    return &((const struct spy_series *)p->series.rows)[id];
}

const char *spy_profile_series_label(const struct spy_profile *p, uint32_t series, const char *key)
{
    const struct spy_series *s = spy_profile_series_get(p, series);
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct spy_label *l = &p->labels[s->first_label + i];
        if (!strcmp(spy_profile_text(p, l->key), key))
            return spy_profile_text(p, l->value);
    }
    return NULL;
}

static size_t table_memory(const struct table *t, size_t size)
{
    return t->cap * size + spy_map_memory(&t->map);
}

size_t spy_profile_memory(const struct spy_profile *p)
{
    return sizeof *p + p->bytes_cap + p->labels_cap * sizeof *p->labels +
           table_memory(&p->strings, sizeof(struct text)) +
           table_memory(&p->functions, sizeof(struct spy_function)) +
           table_memory(&p->frames, sizeof(struct spy_frame)) +
           table_memory(&p->stacks, sizeof(struct spy_stack)) +
           table_memory(&p->threads, sizeof(struct spy_thread)) +
           table_memory(&p->series, sizeof(struct spy_series)) +
           table_memory(&p->samples, sizeof(struct spy_sample));
}

static void keep_to_rows(struct table *t)
{
    if (t->cap < t->max)
        t->max = (uint32_t)t->cap;
}

void spy_profile_stop_growing(struct spy_profile *p)
{
    struct table *tables[] = {&p->strings, &p->functions, &p->frames, &p->stacks,
                              &p->threads, &p->series,    &p->samples};
    for (size_t i = 0; i < SPY_COUNT(tables); i++)
        keep_to_rows(tables[i]);
    p->bytes_max = p->bytes_cap < p->bytes_max ? p->bytes_cap : p->bytes_max;
}

void spy_profile_weigh(struct spy_profile *p)
{
    struct spy_sample *rows = p->samples.rows;
    for (uint32_t i = 0; i < p->samples.n; i++) {
        uint64_t period = spy_profile_series_get(p, rows[i].series)->period_ns;
        if (__builtin_mul_overflow(rows[i].count, period, &rows[i].ns))
            rows[i].ns = UINT64_MAX;
    }
    spy_profile_note_seen(p);
}

void spy_profile_note_seen(struct spy_profile *p)
{
    for (uint32_t i = 0; i < p->series.n; i++) {
        struct spy_account *a = &spy_profile_series_at(p, i)->account;
        a->running_ns = a->runnable_ns = 0;
        a->period_ns = spy_profile_series_get(p, i)->period_ns;
    }
    for (uint32_t i = 0; i < p->samples.n; i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        struct spy_account *a = &spy_profile_series_at(p, s->series)->account;
        if (s->state & SPY_STATE_RUNNING && spy_account_knows(a, SPY_CPU))
            a->running_ns = spy_add_sat(a->running_ns, s->ns);
        if (s->state & SPY_STATE_RUNNABLE && spy_account_knows(a, SPY_RUNQUEUE))
            a->runnable_ns = spy_add_sat(a->runnable_ns, s->ns);
    }
}

void spy_profile_reset_window(struct spy_profile *p)
{
    p->samples.n = 0;
    spy_map_clear(&p->samples.map);
    for (uint32_t i = 0; i < p->series.n; i++) {
        struct spy_series *s = spy_profile_series_at(p, i);
        *s = (struct spy_series){.first_label = s->first_label, .n_labels = s->n_labels};
    }
}
