// test.h - what every cmocka test needs.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h> // needs those before it

// PODSPY_CASE=PATTERN runs only the cases whose names match: * and ? are wildcards.
__attribute__((constructor)) static void choose_cases(void)
{
    cmocka_set_test_filter(getenv("PODSPY_CASE"));
}

// Measures until `good` holds, `tries` times at most; fails where it never does. Only for what the
// scheduler decides beside podspy: a share of the CPU, a gap, lateness. Other programs can take the
// CPU for seconds, so that one try proves nothing. What must hold on any machine is asserted inside
// of measure(), whose failure is never repeated.
__attribute__((unused)) static void assert_measured(bool (*measure)(void *arg), void *arg,
                                                    const char *what, int tries)
{
    for (int n = 1; n <= tries; n++) {
        if (n > 1)
            print_message("measured again: %s (%d of %d)\n", what, n, tries);
        if (measure(arg))
            return;
    }
    fail_msg("%s: in none of %d tries", what, tries);
}

#define T(function) cmocka_unit_test(function)

#define RUN(...)                                                                                   \
    int main(void)                                                                                 \
    {                                                                                              \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                                           \
        return cmocka_run_group_tests(tests, NULL, NULL);                                          \
    }
