// window.h - a window or roll-up as a row of its table, and the rows of what it refers to. Inside of
// store/clickhouse.
//
// Threads: any; a struct belongs to one.
#pragma once
#include "collector/store/clickhouse/idset.h"
#include "collector/store/clickhouse/schema.h"

// --- reading ---

// All pointers are borrowed from the reader's bytes.
struct spy_click_window {
    const uint8_t *series, *profile_id; // SPY_ID bytes each
    struct spy_series window;           // times, quality, account; no labels
    uint64_t end_ns, samples;
    uint32_t rows;
    uint32_t level;           // enum spy_click_level: what these are the windows of
    uint32_t bucket, windows; // of a roll-up; windows is 1 for a window

    size_t n_threads;
    const uint8_t *tids; // 8 bytes each
    struct spy_rowbin names;

    size_t n_stacks, n_rows;
    const uint8_t *stacks;                // SPY_ID bytes each
    const uint8_t *stack, *thread;        // 4 bytes a row
    const uint8_t *state, *count, *extra; // 1, 8, 8
};
// Each reads the columns of its name in schema.h. 0; SPY_ERR_TORN: the bytes end inside of it;
// SPY_ERR_IO: ClickHouse holds what no collector wrote.
int spy_click_read_head(struct spy_rowbin *r, struct spy_click_window *ret, struct spy_err *err);
int spy_click_read_rolled(struct spy_rowbin *r, struct spy_click_window *ret, struct spy_err *err);
int spy_click_read_threads(struct spy_rowbin *r, struct spy_click_window *ret, struct spy_err *err);
int spy_click_read_rows(struct spy_rowbin *r, struct spy_click_window *ret, struct spy_err *err);
int spy_click_read_states(struct spy_rowbin *r, struct spy_click_window *ret, struct spy_err *err);
// What a reader of rows returns when it has read all its columns: 0, SPY_ERR_TORN or SPY_ERR_IO.
int spy_click_end_row(const struct spy_rowbin *r, struct spy_err *err);
// One sample; stack and thread count from 1 in the window's arrays. False: out of range.
bool spy_click_row(const struct spy_click_window *w, size_t i, struct spy_sample *ret);

// --- writing ---

enum {
    SPY_CLICK_SERIES,
    SPY_CLICK_FRAMES,
    SPY_CLICK_STACKS,
    SPY_CLICK_WINDOWS,
    SPY_CLICK_HOURS,
    SPY_CLICK_MINUTES, // after the hours: a window is known by its minute
    SPY_CLICK_TABLES
};

// Rows to insert, by table, in the order in which they have to be inserted.
struct spy_click_rows {
    struct spy_buf of[SPY_CLICK_TABLES];
};

// The ids that one profile's entries have, for as long as it is written.
struct spy_click_ids;
int spy_click_ids_new(const struct spy_profile *p, struct spy_click_ids **ret, struct spy_err *err);
void spy_click_ids_free(struct spy_click_ids *ids); // NULL-safe
const uint8_t *spy_click_ids_series(const struct spy_click_ids *ids);
// The id that `written` holds for a row of a day's table: equal names of two days are two rows.
void spy_click_ids_of_day(const uint8_t id[SPY_ID], uint32_t day, uint8_t ret[SPY_ID]);

// Appends the window of the profile's one series (to minutes and hours if it is late) and what `written` does not hold of the rows that it
// refers to, and adds these to `written`. SPY_ERR_INVALID: the window is too large to be stored; else
// SPY_ERR_NOMEM, SPY_ERR_LIMIT. After an error rows and `written` hold a part.
int spy_click_put_window(const struct spy_profile *p, const struct spy_click_ids *ids,
                         struct spy_idset *written, bool is_late, struct spy_click_rows *rows,
                         struct spy_err *err);
// Appends the columns of SPY_CLICK_HEAD. A profile_id of a roll-up is none.
void spy_click_put_head(struct spy_buf *out, const uint8_t series[SPY_ID],
                        const struct spy_series *w, uint64_t samples, uint32_t rows);
// Those of a roll-up's row that stand in front of tids, with ids.
struct spy_click_rolled {
    int level;
    uint32_t bucket, windows, rows;
    uint64_t samples;
    const uint8_t *series;
    const struct spy_series *window; // its profile_id: that of a late window; else zeros
    const uint8_t *ids;              // SPY_ID bytes each, `windows` of them
};
void spy_click_put_rolled(struct spy_buf *out, const struct spy_click_rolled *rolled);
