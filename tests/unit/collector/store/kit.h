// kit.h - what the tests of the store share: a folder, profiles made from a seed, comparison.
#pragma once

#include "collector/store/store.h"
#include "tests/unit/test.h"

#define SEC_NS UINT64_C(1000000000)
#define T0     UINT64_C(1700000000) // a time to begin at, in seconds

// The kind of store that the cases run on: what PODSPY_STORE_KIND says, "sqlite" without it. On
// "clickhouse" a server of this process's own is started; where none is installed, the case is
// skipped.
const char *kit_kind(void);
bool kit_is_sqlite(void);
// Rounds of a case: n with SQLite, fewer where every statement crosses a socket.
uint64_t kit_rounds(uint64_t n);

// A new place for a store: with SQLite a folder, removed with all that is in it by kit_remove. It
// is in memory where that has room: what these tests do to a store does not depend on the disk, and
// a slow disk's fsync makes them last minutes.
char *kit_folder(void);
void kit_remove(char *dir);
struct spy_store *kit_open(const char *dir, uint32_t max_series);
void kit_close(struct spy_store *s);

uint64_t kit_random(uint64_t *seed);
void kit_id(uint64_t n, uint8_t out[16]); // different for different n

// One window: n_pairs label key, value pairs; times in seconds; no samples.
struct spy_profile *kit_window(uint64_t id, uint64_t start_s, uint64_t seconds, size_t n_pairs,
                               const char *const *pairs);
// Adds a sample of a stack named by text, root first: "main;work;leaf".
void kit_sample(struct spy_profile *p, const char *stack, uint64_t count);
// A window with random labels (of few), times, quality, threads, stacks, counts and times.
struct spy_profile *kit_random_window(uint64_t id, uint64_t *seed);

// Appends; returns how many were known. Fails the test on an error.
size_t kit_append(struct spy_store *s, struct spy_profile *const *profiles, size_t n);
struct spy_select kit_everything(void);
struct spy_profile *kit_query(struct spy_store *s, const struct spy_select *select);
// The same selection by spy_store_windows; fails the test unless each series has the window, quality,
// account and sums by state of `expected`. Returns how many times the store called back.
size_t kit_assert_windows(struct spy_store *s, const struct spy_select *select, uint64_t step_ns,
                          const struct spy_profile *expected);
uint64_t kit_total(const struct spy_profile *p); // counts of all samples
// Every series (window, quality, period, profile_id) and every sample of one is in the other.
void kit_assert_same(const struct spy_profile *a, const struct spy_profile *b);
// The number of windows of each process, summed; and the processes.
size_t kit_windows(struct spy_store *s, size_t *ret_processes);
