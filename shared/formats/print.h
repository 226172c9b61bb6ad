// print.h - the list of formats, and what their printers share. Inside of shared/formats.
#pragma once
#include "shared/formats/tree.h"

// Every format, in the order of help texts. X(svg) is spy_format_svg, at the end of svg.c.
#define SPY_FORMATS(X)                                                                             \
    X(svg)                                                                                         \
    X(speedscope)                                                                                  \
    X(chrometrace)                                                                                 \
    X(collapsed)                                                                                   \
    X(pprof)                                                                                       \
    X(json)                                                                                        \
    X(compact)

#define SPY_FORMAT_DECLARE(name) extern const struct spy_format spy_format_##name;
SPY_FORMATS(SPY_FORMAT_DECLARE)

// Sets the message of a printer that failed with r, and returns r.
int spy_print_failed(int r, struct spy_err *err);
// Appends text as a JSON string, with its quotes.
int spy_put_json_string(struct spy_buf *out, const char *text, size_t len);
// Appends "meta": {...}: the series, all samples by state, and the account. 0, SPY_ERR_NOMEM,
// SPY_ERR_LIMIT.
int spy_put_json_meta(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out);
// Appends "strings", "frames" and "nodes" of the tree, as docs/formats.md describes them (compact).
// Where the view compares, self is that of the base, and "compared" that of the other side. The same
// errors.
int spy_put_compact_tree(const struct spy_tree *t, struct spy_buf *out);
