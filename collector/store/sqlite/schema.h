// schema.h - the tables of the SQLite store. Inside of store/sqlite.
//
// Strings, functions, frames, stacks, threads and series are stored once and addressed by number,
// as in a profile. Stack 0 is the root and thread 0 is "not known"; neither has a row. A stack's
// parent has a smaller id. All samples of a window are one value (rows.h): they are written and
// read together, and one value costs a third of the bytes of rows and a fraction of their time.
//
// `seen` is the slice of time (SPY_SCHEMA_SLICE_NS) of the latest window that refers to the row; an
// ancestor's is never less than its descendants'. So when the oldest window left is of slice N,
// everything with seen < N is garbage, and no sample needs to be read to know it.
//
// uint64_t values are kept as the int64_t with the same bits (never compared or summed in SQL);
// start_ns and end_ns are compared and therefore cut at INT64_MAX (the year 2262).
#pragma once
#define SPY_SCHEMA_APPLICATION 1886613625 // "pspy"
#define SPY_SCHEMA_VERSION     1
#define SPY_SCHEMA_SLICE_NS    (15 * 60 * 1000000000ull)
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
    " series INT NOT NULL, start_ns INT NOT NULL, end_ns INT NOT NULL, period_ns INT NOT NULL,"    \
    " clean INT NOT NULL, salvaged INT NOT NULL, paused INT NOT NULL, failed INT NOT NULL,"        \
    " lost INT NOT NULL, late INT NOT NULL, samples INT NOT NULL, rows INT NOT NULL);"             \
    "CREATE INDEX windows_series ON windows(series, end_ns);"                                      \
    "CREATE INDEX windows_time ON windows(end_ns);"                                                \
    "CREATE TABLE samples(window INTEGER PRIMARY KEY, data BLOB NOT NULL);"                        \
    "CREATE TABLE checks(id INTEGER PRIMARY KEY, at_ns INT NOT NULL);"
