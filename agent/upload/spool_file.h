// spool_file.h - what one file of the spool holds. Inside of agent/upload.
//
//     header   48 bytes, this machine's byte order: magic "SPYSPL1\n", two XXH3 sums (of the rest
//              of the header and the ledger; of the body), the generation of the losses that the
//              window took, lengths
//     ledger   zstd: one row for each series in the body: profile_id, samples, the losses of
//              earlier windows that it reports, its labels packed. So a file that is dropped, or
//              whose body is damaged, still says whose samples are lost.
//     body     the request as it is sent: OTLP, zstd
//
// Pure functions. Files come from disk and are not trusted: every length is checked.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include <stddef.h>
#include <stdint.h>

enum {
    SPY_SPOOL_LEDGER_MAX = 32 << 20, // unpacked
    SPY_SPOOL_FILE_MAX = 96 << 20,   // a longer file is damaged
    SPY_SPOOL_ROWS_MAX = 1 << 18,
};

struct spy_spool_row {
    uint8_t profile_id[16];
    uint64_t samples; // in the body
    uint64_t lost;    // of earlier windows, reported in the body
    const uint8_t *labels;
    uint32_t labels_len;
};

struct spy_spool_view {
    uint64_t took;
    struct spy_spool_row *rows; // owned; their labels point into ledger
    size_t n_rows;
    struct spy_buf ledger;
    const uint8_t *body; // borrowed from the data
    size_t body_len;
};

// Appends a file to out. 0, SPY_ERR_LIMIT, SPY_ERR_NOMEM.
int spy_spool_pack(const struct spy_spool_row *rows, size_t n, uint64_t took, const void *body,
                   size_t len, struct spy_buf *out, struct spy_err *err);
// 0; SPY_ERR_TORN: the body is damaged and the ledger is not, *ret has the rows and no body;
// SPY_ERR_INVALID: nothing of it can be used. *ret is to be freed in every case.
int spy_spool_unpack(const uint8_t *data, size_t len, struct spy_spool_view *ret,
                     struct spy_err *err);
void spy_spool_view_free(struct spy_spool_view *v);
// The generation in the first SPY_SPOOL_HEADER bytes; 0 when they are not a header. Not checked by
// sum.
enum { SPY_SPOOL_HEADER = 48 };
uint64_t spy_spool_took(const uint8_t *data, size_t len);
