// test.h - what every cmocka test needs.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h> // needs those before it

// PODSPY_CASE=PATTERN runs only the cases whose names match: * and ? are wildcards.
__attribute__((constructor)) static void choose_cases(void)
{
    cmocka_set_test_filter(getenv("PODSPY_CASE"));
}

#define T(function) cmocka_unit_test(function)

#define RUN(...)                                                                                   \
    int main(void)                                                                                 \
    {                                                                                              \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                                           \
        return cmocka_run_group_tests(tests, NULL, NULL);                                          \
    }
