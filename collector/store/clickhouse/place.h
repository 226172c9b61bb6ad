// place.h - where a ClickHouse is and how the store uses it, as one line of text: what
// spy_store_open takes for a store of the kind "clickhouse" in place of a folder.
//
//     https://host:8443/?database=podspy&user=podspy&password_file=%2Frun%2Fpassword&replicas=2
//
// Threads: any.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"

enum { SPY_CLICK_TEXT = 512, SPY_CLICK_GRACE_SECS = 600 }; // TEXT: bytes of each value

struct spy_click_place {
    char url[SPY_CLICK_TEXT];      // scheme, host and port; http:// for this machine alone
    char database[SPY_CLICK_TEXT]; // letters, digits and _; made if it is missing
    char user[SPY_CLICK_TEXT];     // "": ClickHouse's own default
    char password_file[SPY_CLICK_TEXT], ca_file[SPY_CLICK_TEXT];
    uint32_t replicas; // 0: tables of one server; else replicated tables, and an insert is
                       // acknowledged once so many replicas hold it
    uint32_t
        grace_secs; // from closing a day to dropping its windows: longer than any statement and
                    // question lasts. SPY_CLICK_GRACE_SECS; tests have less
};

int spy_click_place_print(const struct spy_click_place *place, struct spy_buf *out);
// SPY_ERR_INVALID says what is wrong.
int spy_click_place_parse(const char *text, struct spy_click_place *ret, struct spy_err *err);
