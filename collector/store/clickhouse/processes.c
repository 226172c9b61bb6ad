// processes.c - lists the selected series, one process each: their windows are summed here, then the
// labels and the threads of the latest windows are read.
#include "collector/store/clickhouse/levels.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROCESSES_MAX = 10000,
    THREADS_MAX = 4096,
    NAMES_BYTES = 4 << 20, // of the threads of one process
    JSON_BYTES = 128 << 10,
    MEMORY_MAX = 512 << 20,
    CHUNK = 256, // processes whose names are read at once
};

struct process {
    struct spy_store_process sums;
    uint8_t id[SPY_ID]; // of the series
    struct latest {     // window or roll-up
        uint8_t profile_id[SPY_ID];
        uint64_t end_ns;
        uint32_t level, bucket, windows;
    } latest;
    char *labels_json, *names; // names: texts, each with its NUL
    struct spy_thread_name *threads;
    size_t n_threads;
};

struct listing {
    struct spy_click *s;
    const struct spy_select *select;
    struct spy_click_reading reading;
    struct spy_idset series;
    struct process *processes; // by number of its series, until they are sorted
    size_t cap;
    struct spy_idset shown; // the series of the chunk
    struct process *chunk;
    unsigned n_rows;
};

static void process_listing_free(struct listing *l)
{
    spy_click_reading_free(&l->reading);
    spy_idset_free(&l->series);
    spy_idset_free(&l->shown);
    free(l->processes);
}

static int hold_listing(struct listing *l, struct spy_err *err)
{
    enum { ONE_IN = 1024 };
    if (++l->n_rows % ONE_IN)
        return 0;
    if (spy_stop_is_set(l->select->stop))
        return spy_err_set(err, SPY_ERR_GONE, 0, "the client has gone");
    size_t most = l->select->memory ? l->select->memory : MEMORY_MAX;
    size_t memory = spy_click_reading_memory(&l->reading) + spy_idset_memory(&l->series) +
                    l->cap * sizeof *l->processes;
    return memory > most ? spy_err_set(err, SPY_ERR_LIMIT, 0,
                                       "too many windows are selected: narrow the selection")
                         : 0;
}

static void sum_window(struct process *p, const struct spy_click_window *w)
{
    struct spy_store_process *s = &p->sums;
    const struct spy_series *window = &w->window;
    bool is_later =
        !s->windows || w->end_ns > s->last_ns ||
        (w->end_ns == s->last_ns && memcmp(w->profile_id, p->latest.profile_id, SPY_ID) > 0);
    s->first_ns = !s->windows || window->start_ns < s->first_ns ? window->start_ns : s->first_ns;
    if (is_later) {
        s->last_ns = w->end_ns;
        s->period_ns = window->period_ns;
        p->latest = (struct latest){
            .end_ns = w->end_ns, .level = w->level, .bucket = w->bucket, .windows = w->windows};
        memcpy(p->latest.profile_id, w->profile_id, SPY_ID);
    }
    s->samples = spy_add_sat(s->samples, w->samples);
    spy_quality_add(&s->quality, &window->quality);
    spy_account_unite(&s->account, &window->account);
    s->windows += w->windows;
}

static int add_head_row(void *arg, struct spy_click_window *w, struct spy_err *err)
{
    struct listing *l = arg;
    uint32_t series;
    bool is_first;
    int r = hold_listing(l, err);
    if (r < 0)
        return r;
    r = spy_idset_add(&l->series, w->series, &series, &is_first);
    if (r == 0 && is_first)
        r = spy_grow(&l->processes, &l->cap, l->series.n, sizeof *l->processes, SIZE_MAX / 256);
    if (r < 0)
        return spy_err_nomem(err);
    if (is_first) {
        l->processes[series] = (struct process){0};
        memcpy(l->processes[series].id, w->series, SPY_ID);
    }
    sum_window(&l->processes[series], w);
    return 0;
}

static int read_heads(struct listing *l, struct spy_err *err)
{
    struct spy_click_picked picked = {0};
    int r = spy_click_pick_series(l->s, l->select, &picked, err);
    l->reading = (struct spy_click_reading){.s = l->s,
                                            .select = l->select,
                                            .picked = &picked,
                                            .columns = SPY_CLICK_ONLY_HEADS,
                                            .fn = add_head_row,
                                            .arg = l};
    if (r == 0 && (picked.is_all || picked.rows.len))
        r = spy_click_read(&l->reading, err);
    spy_click_picked_free(&picked);
    return r;
}

static int compare_processes(const void *a, const void *b)
{
    const struct process *x = a, *y = b;
    if (x->sums.last_ns != y->sums.last_ns)
        return x->sums.last_ns > y->sums.last_ns ? -1 : 1;
    return memcmp(x->id, y->id, SPY_ID);
}

// --- names ---

static struct process *find_listed_process(struct listing *l, const uint8_t id[SPY_ID])
{
    uint32_t at = spy_idset_find(&l->shown, id);
    return at == SPY_MAP_NONE ? NULL : &l->chunk[at];
}

static int print_process_labels(const struct spy_click_labels *l, char **ret)
{
    struct spy_buf b = SPY_BUF_INIT(JSON_BYTES);
    spy_buf_putc(&b, '{');
    for (size_t i = 0; i < l->n; i++) {
        spy_buf_puts(&b, i ? ", \"" : "\"");
        spy_buf_json(&b, l->keys[i].at, l->keys[i].len);
        spy_buf_puts(&b, "\": \"");
        spy_buf_json(&b, l->values[i].at, l->values[i].len);
        spy_buf_putc(&b, '"');
    }
    spy_buf_putc(&b, '}');
    if (b.failed) {
        spy_buf_free(&b);
        return SPY_ERR_NOMEM;
    }
    *ret = (char *)b.data;
    return 0;
}

static int add_labels_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct spy_click_labels labels;
    const uint8_t *id = spy_rowbin_bytes(r, SPY_ID);
    int result = spy_click_read_labels(r, &labels, err);
    struct process *p = result == 0 ? find_listed_process(arg, id) : NULL;
    if (!p || p->labels_json)
        return result;
    return print_process_labels(&labels, &p->labels_json) < 0 ? spy_err_nomem(err) : 0;
}

// Names that do not fit are left out.
static int copy_threads(struct process *p, struct spy_click_window *w)
{
    size_t n = w->n_threads < THREADS_MAX ? w->n_threads : THREADS_MAX, used = 0;
    size_t bytes = (size_t)(w->names.end - w->names.at) + n + 1;
    bytes = bytes < NAMES_BYTES ? bytes : NAMES_BYTES;
    p->names = malloc(bytes);
    p->threads = calloc(n + 1, sizeof *p->threads);
    if (!p->names || !p->threads)
        return SPY_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        struct spy_click_text name = spy_click_next_text(&w->names);
        if (used + name.len + 1 > bytes)
            break;
        memcpy(p->names + used, name.at, name.len);
        p->names[used + name.len] = 0;
        p->threads[p->n_threads++] =
            (struct spy_thread_name){spy_rowbin_element(w->tids, i, 8), p->names + used};
        used += name.len + 1;
    }
    return 0;
}

static int add_threads_row(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    struct spy_click_window w = {0};
    const uint8_t *id = spy_rowbin_bytes(r, SPY_ID);
    int result = spy_click_read_threads(r, &w, err);
    struct process *p = result == 0 ? find_listed_process(arg, id) : NULL;
    if (!p || p->threads)
        return result;
    return copy_threads(p, &w) < 0 ? spy_err_nomem(err) : 0;
}

static int read_chunk_labels(struct listing *l, size_t n, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf ids = SPY_BUF_INIT(CHUNK * SPY_ID);
    for (size_t i = 0; i < n; i++)
        spy_buf_append(&ids, l->chunk[i].id, SPY_ID);
    if (ids.failed)
        return spy_err_nomem(err);
    return spy_click_call(
        l->s->link,
        &(struct spy_click_call){.sql = "SELECT id, keys, values FROM series WHERE id IN "
                                        "(SELECT id FROM picked) FORMAT RowBinary",
                                 .picked = &ids,
                                 .structure = "id FixedString(16)",
                                 .row = add_labels_row,
                                 .arg = l,
                                 .stop = l->select->stop},
        err);
}

// Where the threads of the latest window or roll-up are, by level.
static const struct {
    const char *sql, *structure;
} thread_sources[SPY_CLICK_LEVELS] = {
    [SPY_CLICK_WINDOW] = {"SELECT series, tids, names FROM windows WHERE "
                          "(series, end_ns, profile_id) IN "
                          "(SELECT series, end_ns, profile_id FROM picked) FORMAT RowBinary",
                          "series FixedString(16), end_ns UInt64, profile_id FixedString(16)"},
    [SPY_CLICK_MINUTE] = {"SELECT series, tids, names FROM minutes WHERE "
                          "(series, bucket, profile_id, windows) IN "
                          "(SELECT series, bucket, profile_id, windows FROM picked) "
                          "FORMAT RowBinary",
                          "series FixedString(16), bucket UInt32, profile_id FixedString(16), "
                          "windows UInt32"},
    [SPY_CLICK_HOUR] = {"SELECT series, tids, names FROM hours WHERE "
                        "(series, bucket, profile_id, windows) IN "
                        "(SELECT series, bucket, profile_id, windows FROM picked) FORMAT RowBinary",
                        "series FixedString(16), bucket UInt32, profile_id FixedString(16), "
                        "windows UInt32"},
};

static int read_chunk_threads(struct listing *l, size_t n, uint32_t level, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf rows = SPY_BUF_INIT(CHUNK * (2 * SPY_ID + 8));
    for (size_t i = 0; i < n; i++) {
        const struct latest *latest = &l->chunk[i].latest;
        if (latest->level != level)
            continue;
        spy_buf_append(&rows, l->chunk[i].id, SPY_ID);
        if (level)
            spy_rowbin_put(&rows, latest->bucket, 4);
        else
            spy_rowbin_put(&rows, latest->end_ns, 8);
        spy_buf_append(&rows, latest->profile_id, SPY_ID);
        if (level)
            spy_rowbin_put(&rows, latest->windows, 4);
    }
    if (rows.failed)
        return spy_err_nomem(err);
    if (!rows.len)
        return 0;
    return spy_click_call(l->s->link,
                          &(struct spy_click_call){.sql = thread_sources[level].sql,
                                                   .picked = &rows,
                                                   .structure = thread_sources[level].structure,
                                                   .row = add_threads_row,
                                                   .arg = l,
                                                   .stop = l->select->stop},
                          err);
}

static int read_labels_and_threads(struct listing *l, size_t n, struct spy_err *err)
{
    int r = read_chunk_labels(l, n, err);
    for (uint32_t level = 0; level < SPY_CLICK_LEVELS && r == 0; level++)
        r = read_chunk_threads(l, n, level, err);
    return r;
}

static int list_chunk(struct listing *l, struct process *chunk, size_t n, spy_store_process_fn fn,
                      void *arg, struct spy_err *err)
{
    int r = 0;
    l->chunk = chunk;
    spy_idset_clear(&l->shown);
    for (size_t i = 0; i < n && r == 0; i++) {
        uint32_t at;
        bool is_new;
        r = spy_idset_add(&l->shown, chunk[i].id, &at, &is_new);
    }
    r = r < 0 ? spy_err_nomem(err) : read_labels_and_threads(l, n, err);
    for (size_t i = 0; i < n; i++) {
        struct process *p = &chunk[i];
        p->sums.labels_json = p->labels_json ? p->labels_json : "{}";
        p->sums.threads = p->threads;
        p->sums.n_threads = p->n_threads;
        if (r == 0)
            fn(arg, &p->sums);
        free(p->labels_json);
        free(p->names);
        free(p->threads);
    }
    return r;
}

static int list_once(struct listing *l, spy_store_process_fn fn, void *arg, bool *ret_again,
                     struct spy_err *err)
{
    int r = read_heads(l, err);
    *ret_again = r == SPY_ERR_AGAIN;
    size_t n = l->series.n < PROCESSES_MAX ? l->series.n : PROCESSES_MAX;
    if (l->series.n)
        qsort(l->processes, l->series.n, sizeof *l->processes, compare_processes);
    for (size_t i = 0; i < n && r == 0; i += CHUNK)
        r = list_chunk(l, l->processes + i, n - i < CHUNK ? n - i : CHUNK, fn, arg, err);
    process_listing_free(l);
    return r;
}

int spy_click_processes(struct spy_store *store, const struct spy_select *select,
                        spy_store_process_fn fn, void *arg, struct spy_err *err)
{
    struct spy_click *s = (struct spy_click *)store;
    bool again = true;
    int r = spy_click_prepare(s, err);
    for (int i = 0; i < SPY_CLICK_READS && r == 0 && again; i++) {
        struct listing l = {.s = s, .select = select};
        r = list_once(&l, fn, arg, &again, err);
        if (again && i + 1 < SPY_CLICK_READS)
            r = 0;
    }
    return r;
}
