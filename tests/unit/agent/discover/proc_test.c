#include "agent/discover/proc.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REST                                                                                       \
    " S 1 42 42 0 -1 4194560 100 0 0 0 5 3 0 0 20 0 3 0 123456 1000000 200 "                       \
    "18446744073709551615 94000000000000 94000000100000 140720000000000 0 0 0 0 16781312 134 0 0 " \
    "0 17 1 0 0 0 0 0 94 95 96 140720 140721 140722 140723 0\n"

static int parse(const char *text, struct spy_proc_stat *s)
{
    return spy_proc_stat_parse(text, strlen(text), s);
}

static void stat_is_parsed_whatever_the_name_holds(void **state)
{
    (void)state;
    static const char *const names[] = {"python3", "a b",      ")",        "x) R 7 7", "new\nline",
                                        "((((",    "<script>", "\xff\xfe", ""};
    for (size_t i = 0; i < SPY_COUNT(names); i++) {
        char text[1024];
        struct spy_proc_stat s;
        snprintf(text, sizeof text, "42 (%s)%s", names[i], REST);
        assert_int_equal(parse(text, &s), 0);
        assert_string_equal(s.comm, names[i]);
        assert_int_equal(s.pid, 42);
        assert_int_equal(s.ppid, 1);
        assert_int_equal(s.state, 'S');
        assert_int_equal(s.threads, 3);
        assert_int_equal(s.start_time, 123456);
        assert_false(s.kernel);
    }
}

static void kernel_threads_and_zombies_are_recognized(void **state)
{
    (void)state;
    struct spy_proc_stat s;
    assert_int_equal(parse("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 3 0 0 0 0 0 "
                           "0 0 0",
                           &s),
                     0);
    assert_true(s.kernel);
    assert_int_equal(parse("9 (x) Z 1 9 9 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 3 0 0 0 0 0 0 0", &s), 0);
    assert_true(spy_proc_dead(&s));
    // the first thread ended, others run on
    assert_int_equal(parse("9 (x) Z 1 9 9 0 -1 4 0 0 0 0 0 0 0 0 20 0 4 0 3 0 0 0 0 0 0 0", &s), 0);
    assert_false(spy_proc_dead(&s));
}

static void an_exec_changes_the_image_and_not_the_start_time(void **state)
{
    (void)state;
    struct spy_proc_stat a, b;
    assert_int_equal(parse("9 (x) S 1 9 9 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 3 0 0 0 10 20 30 ", &a),
                     0);
    assert_int_equal(parse("9 (x) S 1 9 9 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 3 0 0 0 10 20 31 ", &b),
                     0);
    assert_true(a.image != b.image);
    assert_int_equal(a.start_time, b.start_time);
}

static void broken_stat_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "42",
                                      "42 ",
                                      "42 (",
                                      "42 (x",
                                      "42 (x)",
                                      "42 (x) ",
                                      "42 (x) S",
                                      "42 (x) S 1 2",
                                      "(x) S 1",
                                      "99999999999999999999 (x)" REST,
                                      "-1 (x)" REST,
                                      "42 (x) S 1 42 42 0 -1 x"};
    for (size_t i = 0; i < SPY_COUNT(bad); i++) {
        struct spy_proc_stat s;
        if (parse(bad[i], &s) != SPY_ERR_INVALID)
            fail_msg("'%s' was taken", bad[i]);
    }
}

static void status_gives_group_user_and_pid_in_the_namespace(void **state)
{
    (void)state;
    static const char text[] = "Name:\tpython3\\nUid:\t0\t0\t0\t0\nUmask:\t0022\nState:\tS (x)\n"
                               "Tgid:\t4711\nPid:\t4711\nUid:\t0\t33\t33\t33\nGid:\t1\t1\t1\t1\n"
                               "NStgid:\t4711\t12\t1\nNSpid:\t4711\t12\t1\nThreads:\t2\n";
    struct spy_proc_status s;
    assert_int_equal(spy_proc_status_parse(text, sizeof text - 1, &s), 0);
    assert_int_equal(s.tgid, 4711);
    assert_int_equal(s.uid, 33);
    assert_int_equal(s.ns_pid, 1);
    assert_int_equal(s.ns_depth, 3);
    assert_int_equal(spy_proc_status_parse("Tgid:\t1\n", 8, &s), SPY_ERR_INVALID);
    assert_int_equal(spy_proc_status_parse("", 0, &s), SPY_ERR_INVALID);
    assert_int_equal(spy_proc_status_parse("Tgid:\nUid:\n", 11, &s), SPY_ERR_INVALID);
}

static void arguments_are_joined_and_cut(void **state)
{
    (void)state;
    struct spy_proc_args a;
    spy_proc_args_parse("/usr/bin/python3\0-m\0gunicorn app\0", 34, &a);
    assert_string_equal(a.joined, "/usr/bin/python3 -m gunicorn app");
    assert_string_equal(a.argv0, "/usr/bin/python3");
    spy_proc_args_parse("", 0, &a);
    assert_string_equal(a.joined, "");
    assert_string_equal(a.argv0, "");
    spy_proc_args_parse("a\0\0b\0\0\0", 7, &a);
    assert_string_equal(a.joined, "a  b");
    static char big[3 << 20];
    memset(big, 'x', sizeof big);
    spy_proc_args_parse(big, sizeof big, &a);
    assert_int_equal(a.len, SPY_PROC_ARGS);
    assert_int_equal(strlen(a.argv0), SPY_PROC_ARGV0 - 1);
}

static void control_characters_of_names_are_replaced(void **state)
{
    (void)state;
    char out[8];
    spy_proc_clean(out, sizeof out, "a\nb\x1b\xff", 5);
    assert_string_equal(out, "a?b??");
    spy_proc_clean(out, sizeof out, "123456\xc3\xa4", 8); // no half character at the end
    assert_string_equal(out, "123456");
    spy_proc_clean(out, sizeof out, "12345\xc3\xa4xyz", 10);
    assert_string_equal(out, "12345\xc3\xa4");
}

static void files_of_this_process_are_read(void **state)
{
    (void)state;
    _cleanup_close_ int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int dir = spy_proc_open(proc, getpid());
    struct spy_proc_stat s;
    struct spy_proc_status u;
    struct spy_proc_args a;
    assert_true(dir >= 0);
    assert_int_equal(spy_proc_stat_read(dir, getpid(), &s), 0);
    assert_int_equal(s.pid, getpid());
    assert_int_equal(s.ppid, getppid());
    assert_int_equal(spy_proc_status_read(dir, &u), 0);
    assert_int_equal(u.uid, geteuid());
    assert_int_equal(u.tgid, getpid());
    assert_int_equal(spy_proc_args_read(dir, &a), 0);
    assert_non_null(strstr(a.joined, "test_proc"));
    assert_int_equal(spy_proc_open(proc, 2147483646), SPY_ERR_GONE);
}

RUN(T(stat_is_parsed_whatever_the_name_holds), T(kernel_threads_and_zombies_are_recognized),
    T(an_exec_changes_the_image_and_not_the_start_time), T(broken_stat_is_refused),
    T(status_gives_group_user_and_pid_in_the_namespace), T(arguments_are_joined_and_cut),
    T(control_characters_of_names_are_replaced), T(files_of_this_process_are_read))
