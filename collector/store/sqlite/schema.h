// schema.h - the tables of the SQLite store. Inside of store/sqlite.
//
// Strings, functions, frames, stacks, threads and series are stored once and addressed by number,
// as in a profile. Stack 0 is the root and thread 0 is "not known"; neither has a row. A stack's
// parent has a smaller id. All samples of a window are one value (rows.h): they are written and
// read together, and one value costs a third of the bytes of rows and a fraction of their time.
//
// `seen` is the slice of time (SPY_SCHEMA_SLICE_NS) of the latest window that refers to the row. An
// ancestor's is never less than its descendants'. So if the oldest remaining window is in slice N,
// all rows with seen < N are garbage, and no sample needs to be read to find them.
//
// uint64_t values are stored as the int64_t with the same bits (never compared or summed in SQL);
// start_ns and end_ns are compared and therefore cut at INT64_MAX (the year 2262).
//
// Version 2 adds what the kernel counted in a window (spy_counter_names; NULL: not known) and the
// time that its samples were running and runnable. A file of version 1 gets these columns when it is
// opened, without being rewritten: in older windows they are not known.
//
// Version 3 adds the roll-ups (levels.h). rollups.part: a roll-up that would have too many rows is
// continued in another row. levels: of the windows, done is the id of the last window that is in the
// roll-ups; dropped is a time: all windows and roll-ups of the level that end later are there. taken:
// profile ids of windows that were dropped and are in the roll-ups, by the day of their end. An older
// file gets these tables, empty, in the transaction that makes it version 3; its windows are rolled
// up later, part by part.
//
// Version 4 has the same tables. Samples are written as packed.h says, which earlier versions cannot
// read; those that are there stay as they are.
#pragma once
#include "shared/profile/profile.h"

#define SPY_SCHEMA_APPLICATION       1886613625 // "pspy"
#define SPY_SCHEMA_VERSION           4
#define SPY_SCHEMA_SLICE_NS          (15 * 60 * 1000000000ull)
#define SPY_SCHEMA_DAY_NS            (86400 * 1000000000ull)
#define SPY_SCHEMA_COLUMN(name, ...) " " #name " INT NOT NULL,"
#define SPY_SCHEMA_QUALITY           SPY_QUALITY(SPY_SCHEMA_COLUMN)
// From version 2.
#define SPY_SCHEMA_FROM_2                                                                          \
    "CREATE TABLE rollups(id INTEGER PRIMARY KEY, level INT NOT NULL, series INT NOT NULL,"        \
    " bucket INT NOT NULL, part INT NOT NULL, start_ns INT NOT NULL, end_ns INT NOT NULL,"         \
    " rows INT NOT NULL, sums BLOB NOT NULL, data BLOB NOT NULL,"                                  \
    " UNIQUE(level, series, bucket, part));"                                                       \
    "CREATE INDEX rollups_time ON rollups(level, bucket);"                                         \
    "CREATE TABLE levels(level INTEGER PRIMARY KEY, done INT NOT NULL, dropped INT NOT NULL);"     \
    "INSERT INTO levels VALUES(0, 0, 0), (1, 0, 0), (2, 0, 0);"                                    \
    "CREATE TABLE taken(day INT NOT NULL, profile_id BLOB NOT NULL, PRIMARY KEY(day, profile_id))" \
    " WITHOUT ROWID;"
#define SPY_SCHEMA                                                                                 \
    "CREATE TABLE strings(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);"                     \
    "CREATE TABLE functions(id INTEGER PRIMARY KEY, name INT NOT NULL, filename INT NOT NULL,"     \
    " start_line INT NOT NULL, kind INT NOT NULL, UNIQUE(name, filename, start_line, kind));"      \
    "CREATE TABLE frames(id INTEGER PRIMARY KEY, function INT NOT NULL, line INT NOT NULL,"        \
    " UNIQUE(function, line));"                                                                    \
    "CREATE TABLE stacks(id INTEGER PRIMARY KEY, parent INT NOT NULL, frame INT NOT NULL,"         \
    " seen INT NOT NULL, UNIQUE(parent, frame));"                                                  \
    "CREATE TABLE threads(id INTEGER PRIMARY KEY, tid INT NOT NULL, name INT NOT NULL,"            \
    " seen INT NOT NULL, UNIQUE(tid, name));"                                                      \
    "CREATE TABLE series(id INTEGER PRIMARY KEY, labels TEXT NOT NULL UNIQUE, seen INT NOT NULL);" \
    "CREATE TABLE labels(series INT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"             \
    " PRIMARY KEY(series, key)) WITHOUT ROWID;"                                                    \
    "CREATE INDEX labels_value ON labels(key, value, series);"                                     \
    "CREATE TABLE windows(id INTEGER PRIMARY KEY, profile_id BLOB NOT NULL UNIQUE,"                \
    " series INT NOT NULL, start_ns INT NOT NULL, end_ns INT NOT NULL, period_ns INT NOT "         \
    "NULL," SPY_SCHEMA_QUALITY " samples INT NOT NULL, rows INT NOT NULL,"                         \
    " cpu_ns INT, runqueue_ns INT, throttled_ns INT, throttled_periods "                           \
    "INT,"                                                                                         \
    " running_ns INT NOT NULL DEFAULT 0, runnable_ns INT NOT NULL "                                \
    "DEFAULT 0);"                                                                                  \
    "CREATE INDEX windows_series ON windows(series, end_ns);"                                      \
    "CREATE INDEX windows_time ON windows(end_ns);"                                                \
    "CREATE TABLE samples(window INTEGER PRIMARY KEY, data BLOB NOT "                              \
    "NULL);"                                                                                       \
    "CREATE TABLE checks(id INTEGER PRIMARY KEY, at_ns INT NOT NULL);" SPY_SCHEMA_FROM_2
// From version 1.
#define SPY_SCHEMA_FROM_1                                                                          \
    "ALTER TABLE windows ADD COLUMN cpu_ns INT;"                                                   \
    "ALTER TABLE windows ADD COLUMN runqueue_ns INT;"                                              \
    "ALTER TABLE windows ADD COLUMN throttled_ns INT;"                                             \
    "ALTER TABLE windows ADD COLUMN throttled_periods INT;"                                        \
    "ALTER TABLE windows ADD COLUMN running_ns INT NOT NULL DEFAULT 0;"                            \
    "ALTER TABLE windows ADD COLUMN runnable_ns INT NOT NULL DEFAULT 0;"
