// schema.h - the tables of the SQLite store. Inside of store/sqlite.
//
// Strings, functions, frames, stacks, threads and series are stored once and addressed by number,
// as in a profile; a window's samples refer to them. `stacks.parent` 0 is the root.
#pragma once
#define SPY_SCHEMA_VERSION 1
#define SPY_SCHEMA                                                                                 \
    "CREATE TABLE strings(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);"                     \
    "CREATE TABLE functions(id INTEGER PRIMARY KEY, name INT NOT NULL, filename INT NOT NULL,"     \
    " start_line INT NOT NULL, kind INT NOT NULL, UNIQUE(name, filename, start_line, kind));"      \
    "CREATE TABLE frames(id INTEGER PRIMARY KEY, function INT NOT NULL, line INT NOT NULL,"        \
    " UNIQUE(function, line));"                                                                    \
    "CREATE TABLE stacks(id INTEGER PRIMARY KEY, parent INT NOT NULL, frame INT NOT NULL,"         \
    " UNIQUE(parent, frame));"                                                                     \
    "CREATE TABLE threads(id INTEGER PRIMARY KEY, tid INT NOT NULL, name INT NOT NULL,"            \
    " UNIQUE(tid, name));"                                                                         \
    "CREATE TABLE series(id INTEGER PRIMARY KEY, labels TEXT NOT NULL UNIQUE,"                     \
    " last_ns INT NOT NULL);"                                                                      \
    "CREATE INDEX series_last ON series(last_ns);"                                                 \
    "CREATE TABLE labels(series INT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"             \
    " PRIMARY KEY(series, key)) WITHOUT ROWID;"                                                    \
    "CREATE TABLE windows(id INTEGER PRIMARY KEY, profile_id BLOB NOT NULL UNIQUE,"                \
    " series INT NOT NULL, start_ns INT NOT NULL, end_ns INT NOT NULL, period_ns INT NOT NULL,"    \
    " clean INT, salvaged INT, paused INT, failed INT, lost INT, late INT, samples INT);"          \
    "CREATE INDEX windows_series ON windows(series, end_ns);"                                      \
    "CREATE INDEX windows_time ON windows(end_ns);"                                                \
    "CREATE TABLE samples(window INT NOT NULL, stack INT NOT NULL, thread INT NOT NULL,"           \
    " state INT NOT NULL, count INT NOT NULL, ns INT NOT NULL,"                                    \
    " PRIMARY KEY(window, stack, thread, state)) WITHOUT ROWID;"
