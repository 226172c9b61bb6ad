// temp_file.h - a file of its own for each case: TEST(case) makes it before and removes it after.
#pragma once
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[32];

static int make_temp_file(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/podspy-test.XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    return fd < 0 ? -1 : 0;
}

static int remove_temp_file(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static inline void write_file(const char *name, const char *text, size_t len)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_temp_file, remove_temp_file)
