// synthetic.h - profiles made up for tests: one by hand that has something of everything, and any
// number by seed.
#pragma once
#include "shared/profile/profile.h"

// Two pods, three processes, several threads: waiting and running, GIL and GC, native frames and
// markers, recursion, and names that hold markup, emoji, right-to-left text and control characters.
// busy_70 has 70 % and busy_30 30 % of the running samples of process 101. NULL: no memory.
struct spy_profile *test_profile_rich(void);

// The same profile for the same seed. `size` bounds each table. Samples are weighed, every series
// has an id, a window and a period.
struct spy_profile *test_profile_random(uint64_t seed, uint32_t size);

// A service of about so many frames in all (at least 1000), 20 to 60 deep, and a frame `haystack`
// that calls needle_00 to needle_99, one sample each: of 20,000 frames all within one pixel.
struct spy_profile *test_profile_large(uint32_t frames);

// Sum of count and ns over all samples.
void test_profile_totals(const struct spy_profile *p, uint64_t *ret_count, uint64_t *ret_ns);

// One line for each sample, sorted, with everything that it refers to spelled out: equal texts mean
// equal profiles, whatever the ids. To be freed.
char *test_profile_spelled(const struct spy_profile *p);
