// What counts as a change of a file.
#include "shared/base/file_id.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = "/tmp/podspy-file-id.XXXXXX";

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_file(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/podspy-file-id.XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    return fd < 0 ? -1 : 0;
}

static int remove_file(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static void assert_changed(struct spy_file_id *seen)
{
    struct spy_file_id now = spy_file_id_of(path);
    assert_false(spy_file_id_equal(&now, seen));
    *seen = now;
}

static void a_file_that_nobody_touched_is_the_same(void **state)
{
    (void)state;
    struct spy_file_id a = spy_file_id_of(path), b = spy_file_id_of(path);
    assert_true(spy_file_id_equal(&a, &b));
    assert_false(spy_file_id_is_none(&a));
}

static void writing_replacing_and_removing_are_changes(void **state)
{
    (void)state;
    struct spy_file_id seen = spy_file_id_of(path);
    write_text(path, "longer");
    assert_changed(&seen);
    char other[sizeof path + 4];
    snprintf(other, sizeof other, "%s.new", path);
    write_text(other, "longer");
    assert_int_equal(rename(other, path), 0);
    assert_changed(&seen);
    // the same size and the same time of its content: what is left is the inode's own time
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    usleep(20000); // more than a tick of the kernel's clock for files
    write_text(path, "LONGER");
    struct timespec times[2] = {st.st_mtim, st.st_mtim};
    assert_int_equal(utimensat(-1, path, times, 0), 0);
    assert_changed(&seen);
    unlink(path);
    assert_changed(&seen);
    assert_true(spy_file_id_is_none(&seen));
}

static void no_path_names_no_file(void **state)
{
    (void)state;
    struct spy_file_id none = spy_file_id_of(NULL);
    assert_true(spy_file_id_is_none(&none));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_file, remove_file)

RUN(TEST(a_file_that_nobody_touched_is_the_same), TEST(writing_replacing_and_removing_are_changes),
    TEST(no_path_names_no_file))
