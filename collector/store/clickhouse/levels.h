// levels.h - roll-ups: the windows of a series summed by the minute and by the hour. Inside of
// store/clickhouse.
//
// A window belongs to the minute and hour that its end lies in, (from, to]; a window of no length to
// [from, to). So the windows of an hour that lies inside of a selected time are all selected. A question
// reads hours, the minutes beside them, and the windows at the edges.
//
// A roll-up is made from the windows themselves, each profile_id once, and a row with more windows
// replaces a row with fewer: so whoever makes it, and how often, it counts none twice. A question counts
// the rows of `windows` for each roll-up that it wants to read. Where there are more than the roll-up
// sums, a late window came, and the windows are read in its place. Where there are fewer, they were
// dropped, or have two rows that are now merged, and the roll-up has them all.
//
// Before the windows of a day are dropped, the day is closed (struct spy_click_marks): what comes for it
// from then on is stored beside the roll-ups, as a row of a single window in minutes and in hours, whose
// key has its profile_id.
//
// Threads: any; a struct belongs to one.
#pragma once
#include "collector/store/clickhouse/click.h"

// Which columns of a window are read.
enum spy_click_columns {
    SPY_CLICK_ONLY_HEADS,
    SPY_CLICK_HEADS_AND_STATES, // SPY_CLICK_STATES
    SPY_CLICK_ALL_COLUMNS,      // SPY_CLICK_THREADS, SPY_CLICK_ROWS
};
// Takes a window or a roll-up, as w->level says. Borrowed.
typedef int (*spy_click_window_fn)(void *arg, struct spy_click_window *w, struct spy_err *err);

struct spy_click_reading {
    struct spy_click *s;
    const struct spy_select *select;
    const struct spy_click_picked *picked;
    enum spy_click_columns columns;
    bool only_dropped; // roll-ups stand for windows that were dropped, and for no others
    bool holds_rows;   // more than the selection's rows_max are refused before they are read
    spy_click_window_fn fn;
    void *arg;

    // of the reading itself
    struct spy_idset profile_ids, rolled;
    uint64_t n_rows;
    uint64_t n_found; // roll-ups
};
// Calls fn for each selected window and roll-up, each once, in no order. SPY_ERR_AGAIN: a roll-up was
// replaced while it was being read; what fn got is to be thrown away, and the call made again.
int spy_click_read(struct spy_click_reading *r, struct spy_err *err);
void spy_click_reading_free(struct spy_click_reading *r); // keeps what the caller set
size_t spy_click_reading_memory(const struct spy_click_reading *r);
enum { SPY_CLICK_READS = 4 }; // how often to make it

// In marks.c. What the server says now.
int spy_click_marks_read(struct spy_click *s, struct spy_click_marks *ret, struct spy_err *err);
// Sets *ret to marks that are young enough to write by. write_lock is held.
int spy_click_marks_get(struct spy_click *s, struct spy_click_marks *ret, struct spy_err *err);
enum spy_click_mark { SPY_CLICK_CLOSED = 1, SPY_CLICK_NO_WINDOWS, SPY_CLICK_NO_MINUTES };
int spy_click_mark(struct spy_click *s, enum spy_click_mark what, uint32_t day,
                   struct spy_err *err);

// In rollup.c. Rolls up the windows of the day that no roll-up has: of hours that ended before
// until_ns. *ret_written: whether a row was.
int spy_click_roll_up(struct spy_click *s, uint32_t day, uint64_t until_ns, bool *ret_written,
                      struct spy_err *err);

// SQL of the minute or hour that a window belongs to.
#define SPY_CLICK_MINUTE_SQL "toUInt32(intDiv(end_ns - (end_ns > start_ns), 60000000000))"
#define SPY_CLICK_HOUR_SQL   "toUInt32(intDiv(end_ns - (end_ns > start_ns), 3600000000000))"
// SQL of the row of a roll-up, as against a late window's.
#define SPY_CLICK_IS_ROLLED "profile_id = toFixedString('', 16)"
