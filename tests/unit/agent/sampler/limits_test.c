// Which cpu.stat tells how a process was throttled: cgroup v1, v2 and both at once, from the node
// and from a container with a cgroup namespace.
#include "agent/sampler/limits.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <string.h>

static void the_hierarchy_of_the_cpu_controller_is_chosen(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path; // NULL: none
        bool v2;
    } rows[] = {
        {"0::/system.slice/web.service\n", "/system.slice/web.service", true},
        {"0::/\n", "/", true},
        {"0::/../../pod1/c2\n", "/../../pod1/c2", true},
        {"3:cpuset:/a\n2:cpuacct,cpu:/docker/c\n1:name=systemd:/x\n", "/docker/c", false},
        {"4:memory:/m\n1:cpu:/c\n0::/unified\n", "/c", false}, // hybrid: v1 has the controller
        {"0::/unified\n1:cpu:/c\n", "/c", false},
        {"4:memory:/m\n2:cpuacct:/c\n0::/unified\n", "/unified", true}, // and here v2
        {"7:cpuset,cpuacct:/c\n", NULL, false},
        {"1:cpu:relative\n", NULL, false},
        {"10::/no\n", NULL, false},
        {"0::/cut", "/cut", true},
        {"", NULL, false},
        {"\n::\n:\n0:\n", NULL, false},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        const char *path = NULL;
        size_t len = 0;
        bool v2 = false;
        bool got = spy_limits_cgroup(rows[i].text, strlen(rows[i].text), &v2, &path, &len);
        assert_int_equal(got, rows[i].path != NULL);
        if (!got)
            continue;
        assert_int_equal(v2, rows[i].v2);
        assert_int_equal(len, strlen(rows[i].path));
        assert_memory_equal(path, rows[i].path, len);
    }
}

static const char hybrid[] =
    "24 1 0:22 / /proc rw - proc proc rw\n"
    "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755\n"
    "33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n"
    "32 31 0:29 /docker/c /sys/fs/cgroup/cpu\\040set rw shared:1 master:2 - cgroup cgroup rw,cpu\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";

static void mounts_are_found_in_mountinfo(void **state)
{
    (void)state;
    char root[SPY_LIMITS_PATH], point[SPY_LIMITS_PATH];
    assert_true(spy_limits_mount(hybrid, strlen(hybrid), false, root, point));
    assert_string_equal(root, "/docker/c");
    assert_string_equal(point, "/sys/fs/cgroup/cpu set");
    assert_true(spy_limits_mount(hybrid, strlen(hybrid), true, root, point));
    assert_string_equal(root, "/");
    assert_string_equal(point, "/sys/fs/cgroup/unified");
    assert_false(spy_limits_mount(hybrid, strcspn(hybrid, "\n"), true, root, point));
    static const char words[] = "1 2 3 / /x rw - cgroup2\n1 2 3 4 5 6\n- - - - - - -\n";
    assert_true(spy_limits_mount(words, strlen(words), true, root, point));
}

static void a_cgroup_path_is_mapped_below_its_mount(void **state)
{
    (void)state;
    static const struct {
        const char *root, *own, *path, *want; // NULL: it is not there
    } rows[] = {
        {"/", "", "/a/b", "/a/b"},
        {"/", "", "/", ""},
        {"/", "", "/../pod/c", NULL},       // outside of our namespace
        {"/docker/c", "", "/docker/c", ""}, // a part is mounted
        {"/docker/c", "", "/docker/c/x", "/x"},
        {"/docker/c", "", "/docker/cat", NULL},
        {"/docker/c", "", "/other", NULL},
        {"/../../..", "/kube/pod1/me", "/", "/kube/pod1/me"}, // the node's, seen from a container
        {"/../../..", "/kube/pod1/me", "/x", "/kube/pod1/me/x"},
        {"/../../..", "/kube/pod1/me", "/../you", "/kube/pod1/you"},
        {"/../../..", "/kube/pod1/me", "/../../pod2/web", "/kube/pod2/web"},
        {"/../../..", "/kube/pod1/me", "/../../../system/x", "/system/x"},
        {"/../../..", "", "/../../pod2/web", NULL}, // not known where we are
        {"/../../..", "/kube/pod1/me", "/../../../../x", NULL},
        {"/..", "/me", "/..a/x", "/me/..a/x"}, // a name, not a step
        {"/", "", "/a/../../etc", NULL},
        {"/", "", "/a/..", NULL},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        char below[SPY_LIMITS_PATH];
        bool got =
            spy_limits_below(rows[i].root, rows[i].own, rows[i].path, strlen(rows[i].path), below);
        if (got != (rows[i].want != NULL))
            fail_msg("%s below %s: %d", rows[i].path, rows[i].root, got);
        if (got)
            assert_string_equal(below, rows[i].want);
    }
}

static void both_forms_of_cpu_stat_are_read(void **state)
{
    (void)state;
    struct spy_throttle t = {0};
    assert_true(
        spy_limits_stat("usage_usec 5\nnr_periods 9\nnr_throttled 3\nthrottled_usec 70\n", &t));
    assert_int_equal(t.periods, 3);
    assert_int_equal(t.ns, 70000);
    assert_true(spy_limits_stat("nr_periods 9\nnr_throttled 4\nthrottled_time 123456\n", &t));
    assert_int_equal(t.periods, 4);
    assert_int_equal(t.ns, 123456);
    assert_true(spy_limits_stat("nr_throttled 1\nthrottled_usec 18446744073709551615\n", &t));
    assert_true(t.ns == UINT64_MAX);
    t = (struct spy_throttle){7, 7};
    assert_false(spy_limits_stat("usage_usec 5\nuser_usec 1\n", &t)); // no controller here
    assert_false(spy_limits_stat("nr_throttled 1\n", &t));
    assert_false(spy_limits_stat("xnr_throttled 1\nthrottled_usec 2\n", &t));
    assert_false(spy_limits_stat("", &t));
    assert_int_equal(t.ns, 7);
}

static void the_cgroup_that_throttled_most_counts(void **state)
{
    (void)state;
    struct spy_limits_reading a = {.path = 1, .n = 3, .levels = {{10, 1}, {500, 9}, {0, 0}}}, b = a;
    struct spy_throttle t = {1, 1};
    assert_true(spy_limits_growth(&a, &b, &t));
    assert_true(!t.ns && !t.periods);
    b.levels[0] = (struct spy_throttle){60, 3};
    b.levels[1] = (struct spy_throttle){590, 10};
    assert_true(spy_limits_growth(&a, &b, &t));
    assert_int_equal(t.ns, 90);
    assert_int_equal(t.periods, 1);
    b.path = 2; // it was moved
    assert_false(spy_limits_growth(&a, &b, &t));
    b.path = 1;
    b.levels[2].periods = 0;
    a.levels[2].periods = 5; // made anew
    assert_false(spy_limits_growth(&a, &b, &t));
    a.path = b.path = 0;
    assert_false(spy_limits_growth(&a, &b, &t));
}

RUN(T(the_hierarchy_of_the_cpu_controller_is_chosen), T(mounts_are_found_in_mountinfo),
    T(a_cgroup_path_is_mapped_below_its_mount), T(both_forms_of_cpu_stat_are_read),
    T(the_cgroup_that_throttled_most_counts))
