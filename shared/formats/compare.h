// compare.h - two profiles compared: what grew, what shrank, and what may be chance.
//
// The samples of both are in one profile (spy_profile_merge): counts are of the base, ns are counts
// of what is compared with it. Shares are of each side's own samples, so sides may differ in length.
//
// Statistics. A share is k of n samples. z is the difference of two shares in standard errors of a
// difference that chance alone would make (two-proportion z-test, pooled). A difference is
// significant if z is beyond a cutoff that keeps the expected part of false marks below
// SPY_COMPARE_FALSE (Benjamini and Hochberg, 1995) over everything that is compared, and if each side
// expects at least SPY_COMPARE_LEAST samples with it and without it, so that the normal
// approximation holds. Samples count as independent: those within one long call are not, so the mark
// is necessary rather than sufficient.
//
// Threads: pure functions.
#pragma once
#include "shared/formats/view.h"

#define SPY_COMPARE_FALSE 0.01
enum { SPY_COMPARE_LEAST = 5 };

// Samples of the base and of what is compared with it.
struct spy_sides {
    uint64_t base, compared;
};

// z of k among n. 0 where there are too few samples to say anything.
double spy_compare_z(struct spy_sides k, struct spy_sides n);
// The cutoff: differences with |z| >= it are significant. INFINITY: none is. z is sorted in place.
double spy_compare_cutoff(double *z, size_t n);

struct spy_tree;
// The cutoff of all nodes of a tree whose view compares, cut to four digits. 0, SPY_ERR_NOMEM.
int spy_compare_tree(const struct spy_tree *t, double *ret);

// What each side was, for people: "pod=a from ... until ...".
struct spy_compared {
    const char *base, *compared;
};
// Prints a comparison as JSON, as docs/http-api.md describes it. v->compares must be set. rows_max:
// the most functions. 0, SPY_ERR_NOMEM, SPY_ERR_LIMIT, SPY_ERR_GONE. (svg prints it as a flamegraph.)
int spy_compare_json(const struct spy_profile *p, const struct spy_view *v,
                     const struct spy_compared *what, size_t rows_max, struct spy_buf *out,
                     struct spy_err *err);
