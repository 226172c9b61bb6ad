// What counts as a change of a file.
#include "shared/base/file_id.h"
#include "temp_file.h"
#include <sys/stat.h>

static void assert_changed(struct spy_file_id *seen)
{
    struct spy_file_id now = spy_file_id_of(path);
    assert_false(spy_file_id_equal(&now, seen));
    *seen = now;
}

static void an_untouched_file_is_unchanged(void **state)
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
    write_file(path, "longer", 6);
    assert_changed(&seen);
    char other[sizeof path + 4];
    snprintf(other, sizeof other, "%s.new", path);
    write_file(other, "longer", 6);
    assert_int_equal(rename(other, path), 0);
    assert_changed(&seen);
    // the same size and the same time of its content: what is left is the inode's own time
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    usleep(20000); // more than a tick of the kernel's clock for files
    write_file(path, "LONGER", 6);
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

RUN(TEST(an_untouched_file_is_unchanged), TEST(writing_replacing_and_removing_are_changes),
    TEST(no_path_names_no_file))
