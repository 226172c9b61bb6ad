// link.h - statements sent to a ClickHouse server over HTTP. Inside of store/clickhouse.
//
// A statement is a constant of ours with numbers in it. Everything that comes from outside travels
// beside it in RowBinary: as the rows of an INSERT, or as an external table that a SELECT names.
//
// Each answer is complete: the server sends it once it has all of it (wait_end_of_query), so that a
// fault in its middle is an error and not a shorter answer.
//
// Threads: any, several at once.
#pragma once
#include "collector/store/clickhouse/place.h"
#include "collector/store/clickhouse/rowbin.h"
#include <stdbool.h>

struct spy_click_link;

// Sends nothing yet. SPY_ERR_NOMEM.
int spy_click_link_new(const struct spy_click_place *place, struct spy_click_link **ret,
                       struct spy_err *err);
void spy_click_link_free(struct spy_click_link *l); // NULL-safe
const struct spy_click_place *spy_click_link_place(const struct spy_click_link *l);

// Reads one row. 0; SPY_ERR_TORN: r ended inside of it; else the error of the whole call.
typedef int (*spy_click_row_fn)(void *arg, struct spy_rowbin *r, struct spy_err *err);

struct spy_click_call {
    const char *sql;              // at most a few KiB; a SELECT ends with FORMAT RowBinary
    bool outside;                 // of the database, which may not exist yet
    const struct spy_buf *rows;   // of an INSERT; NULL: none
    const struct spy_buf *picked; // rows of the external table "picked"; NULL: none
    const char *structure;        // its columns: "id FixedString(16)"
    spy_click_row_fn row;         // NULL: no answer is expected
    void *arg;
    bool agreed;        // a SELECT of what all wanted replicas have, and of nothing else
    const bool *stop;   // shared/base/stop.h; NULL: none
    unsigned secs;      // limit of the whole call; 0: 30
    uint64_t bytes_max; // of the answer; 0: 1 GiB
};

// 0; SPY_ERR_AGAIN: the server cannot be reached, or is too busy; SPY_ERR_DENIED: it refuses the
// credentials, or the password file cannot be used; SPY_ERR_LIMIT: a bound of the call, or of the
// server (err->sys ENOSPC: its disk); SPY_ERR_NOTFOUND: no such database or table; SPY_ERR_GONE: stop
// was set; SPY_ERR_IO: any other failure; and what the row function returned. After a failure the
// server may have done what the statement says.
int spy_click_call(struct spy_click_link *l, const struct spy_click_call *call,
                   struct spy_err *err);
// The number that the SELECT returns, as UInt64.
int spy_click_number(struct spy_click_link *l, const char *sql, uint64_t *ret, struct spy_err *err);
