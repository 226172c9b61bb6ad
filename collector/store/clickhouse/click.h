// click.h - shared by the files of the ClickHouse store. Inside of store/clickhouse.
//
// The collector keeps nothing that matters: any number of collectors write to one database and read
// from it. What they hold are caches: `written`, ids of rows that this collector has inserted, and the
// number of series.
//
// Appenders that wait share one insert. After SPY_ERR_AGAIN and SPY_ERR_IO a part of what was to be
// inserted can be there; sending it again makes it whole, and never double.
#pragma once
#include "collector/store/batch.h"
#include "collector/store/clickhouse/window.h"
#include "collector/store/retention_clock.h"
#include "collector/store/store.h"
#include <pthread.h>

// What the table `marks` says: all earlier days are closed, or dropped. A window of a closed day is
// stored as a row of `minutes` and of `hours`, not of `windows`.
struct spy_click_marks {
    uint32_t closed, windows, minutes;
};

struct spy_click {
    struct spy_store base;
    struct spy_click_link *link;
    uint32_t max_series;
    size_t memory;

    pthread_mutex_t schema_lock;
    bool has_schema; // atomic: the tables were seen

    struct spy_batch_queue queue;

    pthread_mutex_t write_lock; // of all from here to the next comment
    struct spy_idset written;
    uint32_t first_day; // the oldest that ClickHouse held when it was last asked
    uint64_t n_series;  // that ClickHouse holds, and those added since it was asked
    bool knows_n_series;
    struct spy_retention_clock clock;

    struct spy_click_marks marks; // as last read
    uint64_t marks_read_ns;       // by CLOCK_MONOTONIC; 0: not yet

    struct spy_store_levels levels; // atomic
    pthread_mutex_t expire_lock;    // of all from here to the next comment
    uint32_t seen_closed;           // the mark, and since when, as the next by CLOCK_MONOTONIC
    uint64_t closed_ns;
    uint64_t clean_ns; // since when all closed days were seen rolled up; 0: they were not
    uint64_t rolled_ns, roll_took_ns; // when live days were rolled up last, and how long it took

    uint64_t horizon_ns; // windows that end before it have expired; atomic
    bool is_full;        // one day alone is over the bound of expire; atomic
};

static inline bool spy_click_rolls_up(const struct spy_click *s)
{
    return __atomic_load_n(&s->levels.hours_ns, __ATOMIC_RELAXED) != 0;
}
// Makes the tables unless that was done. Each function of the store begins with it, so a collector
// can start before its ClickHouse.
int spy_click_prepare(struct spy_click *s, struct spy_err *err);

int spy_click_append(struct spy_store *s, struct spy_profile *const *profiles, size_t n,
                     size_t *ret_known, bool *ret_is_known, struct spy_err *err);
int spy_click_query(struct spy_store *s, const struct spy_select *select, struct spy_profile *into,
                    struct spy_err *err);
// Adds a series whose row is missing: its id stands for its labels. In query.c.
int spy_click_missing_series(struct spy_profile *into, const uint8_t id[SPY_ID], uint32_t *ret);
int spy_click_windows(struct spy_store *s, const struct spy_select *select, uint64_t step_ns,
                      struct spy_profile *into, spy_store_window_fn fn, void *arg,
                      struct spy_err *err);
int spy_click_processes(struct spy_store *s, const struct spy_select *select,
                        spy_store_process_fn fn, void *arg, struct spy_err *err);
int spy_click_expire(struct spy_store *s, uint64_t now_ns, uint64_t raw_ns, uint64_t max_bytes,
                     struct spy_err *err);
void spy_click_keep(struct spy_store *s, const struct spy_store_levels *levels);
int spy_click_verify(struct spy_store *s, unsigned max_secs, struct spy_err *err);

// --- selections, in select.c ---

// The series that a selection's labels choose. Without labels it is all, and `picked` is empty.
struct spy_click_picked {
    bool is_all;
    struct spy_buf rows; // of ids, as an external table
};
void spy_click_picked_free(struct spy_click_picked *p);
int spy_click_pick_series(struct spy_click *s, const struct spy_select *select,
                          struct spy_click_picked *ret, struct spy_err *err);
// Appends "SELECT columns FROM table" with the selection's time and series, without a FORMAT. The table
// has rows of windows.
void spy_click_put_select(struct spy_click *s, struct spy_buf *sql, const char *columns,
                          const char *table, const struct spy_select *select,
                          const struct spy_click_picked *picked);
// No window that ends before it is selected.
uint64_t spy_click_first_end(struct spy_click *s, const struct spy_select *select);
// Reads {keys, values} of a series. Texts are of the reader's bytes, n of them in each.
struct spy_click_labels {
    struct spy_click_text {
        const char *at; // not NUL-terminated
        size_t len;
    } keys[SPY_LABELS_MAX], values[SPY_LABELS_MAX];
    size_t n;
};
int spy_click_read_labels(struct spy_rowbin *r, struct spy_click_labels *ret, struct spy_err *err);
// One name of spy_click_window.names, in turn.
struct spy_click_text spy_click_next_text(struct spy_rowbin *r);
