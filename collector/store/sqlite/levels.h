// levels.h - roll-ups: the windows of a series summed by the minute and by the hour. Inside of
// store/sqlite.
//
// A window belongs to the minute and hour that its end lies in, (from, to]; a window of no length to
// [from, to). So the windows of a minute that lies inside of a selected time are all selected, and a
// roll-up can stand for them: a question reads hours, the minutes beside them, windows at the edges,
// and the windows that no roll-up holds yet. Where windows were dropped, minutes stand for them, and
// then hours.
//
// Windows are rolled up in the order of their ids, some hundred in a transaction, which also notes
// the id of the last one. So a kill loses nothing and counts nothing twice, and late windows need
// nothing of their own.
#pragma once
#include "collector/store/sqlite/sqlite.h"
#include "collector/store/sqlite/sums.h"

enum spy_level { SPY_LEVEL_WINDOWS, SPY_LEVEL_MINUTES, SPY_LEVEL_HOURS, SPY_LEVELS };
static inline int64_t spy_level_ns(int level) // of a roll-up
{
    return level == SPY_LEVEL_HOURS ? 3600 * INT64_C(1000000000) : 60 * INT64_C(1000000000);
}
// The roll-up that a window belongs to.
static inline int64_t spy_level_bucket(int level, int64_t start_ns, int64_t end_ns)
{
    return (end_ns - (end_ns > start_ns)) / spy_level_ns(level);
}

// Where the answer to a question is: rows of windows or of rollups, disjoint.
struct spy_source {
    int level;
    char where[256]; // SQL that narrows the selection, with AND before it; of `w`
    int64_t from_ns; // nothing ends before it
};
struct spy_plan {
    struct spy_source sources[10];
    size_t n;
};
// How far the windows are rolled up, and what was dropped, by level (schema.h).
struct spy_level_state {
    int64_t done, dropped[SPY_LEVELS];
};
int spy_level_state_read(sqlite3 *db, struct spy_level_state *ret, struct spy_err *err);
int spy_plan_make(sqlite3 *db, const struct spy_select *select, struct spy_plan *ret,
                  struct spy_err *err);

// One step of a selection's time. Planned step by step, each window of the selection is in one source
// of one step: all that ends before the first or after the last is theirs.
struct spy_plan_part {
    int64_t from, until;
    bool is_first, is_last;
    bool rolls_up; // windows that are there may be read as roll-ups, but none that holds windows
                   // that begin before `from`, unless they are longer than a minute
    int64_t windows_from; // 0 in the first step, then kept: windows that end later are not planned
};
void spy_plan_step(const struct spy_level_state *state, struct spy_plan_part *part,
                   struct spy_plan *ret);

// One row of a source.
struct spy_source_row {
    int64_t series, rows;
    struct spy_sums sums;
    int64_t window; // whose samples these are; 0: a roll-up, with its samples in data
    const uint8_t *data;
    size_t len;
};
// Prepares the selection of such rows; more: SQL behind it, such as ORDER BY.
int spy_source_select(sqlite3 *db, const struct spy_source *source, const struct spy_select *select,
                      const char *more, sqlite3_stmt **ret, struct spy_err *err);
// The same, series by series.
int spy_source_select_by_series(sqlite3 *db, const struct spy_source *source,
                                const struct spy_select *select, sqlite3_stmt **ret,
                                struct spy_err *err);
// Reads the row that the statement stands at. Borrowed until its next step.
int spy_source_read(sqlite3 *db, sqlite3_stmt *q, const struct spy_source *source,
                    struct spy_source_row *ret, struct spy_err *err);

// Rolls up what is not rolled up yet. write_lock is held, and released between parts. In rollup.c.
int spy_sqlite_roll_up(struct spy_sqlite *s, struct spy_err *err);
