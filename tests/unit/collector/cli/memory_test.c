#include "collector/cli/memory.h"
#include "collector/http/http.h"
#include "tests/unit/test.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static void budgets_add_up_to_at_most_the_limit(void **state)
{
    (void)state;
    static const size_t totals[] = {192, 384, 700, 768, 1536, 6144, 196608};
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++) {
        struct spy_memory m = spy_memory_divide(totals[i] * MIB, MIB);
        size_t questions = SPY_HTTP_QUESTIONS_AT_ONCE * m.question + m.large_at_once * m.large;
        assert_true(questions + m.bodies + m.decoding + m.answers <= m.total / 8 * 7);
        assert_true(m.large_at_once >= 1 && m.large_at_once <= SPY_HTTP_LARGE_AT_ONCE);
        assert_true(m.large > 4 * m.question);
        assert_true(m.bodies >= 2 * MIB);
    }
}

static void budgets_hold_the_smallest_and_the_largest_body(void **state)
{
    (void)state;
    assert_true(spy_memory_divide(16 * MIB, 16 * MIB).bodies >= 16 * MIB);
    assert_true(spy_memory_divide(1536 * MIB, 256 * MIB).bodies >= 256 * MIB);
    assert_true(spy_memory_divide(16 * MIB, MIB).large > 0);
}

// --- cgroups, as a folder ---

static void put(const char *root, const char *dir, const char *file, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s%s", root, dir);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        mkdir(path, 0700);
        *at = '/';
    }
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s%s/%s", root, dir, file);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_root(void **state)
{
    static char root[40];
    snprintf(root, sizeof root, "/tmp/podspy-memory-XXXXXX");
    *state = mkdtemp(root);
    return *state ? 0 : -1;
}

static int remove_root(void **state)
{
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", (char *)*state);
    return system(command);
}

static void the_least_limit_of_a_cgroup_and_its_parents_holds(void **state)
{
    const char *root = *state;
    put(root, "/kube/pod", "memory.max", "1073741824\n");
    put(root, "/kube/pod/container", "memory.max", "2147483648\n");
    put(root, "/free", "memory.max", "max\n");
    assert_int_equal(spy_memory_limit_of("0::/kube/pod/container\n", root), 1073741824);
    assert_int_equal(spy_memory_limit_of("0::/kube/pod\n", root), 1073741824);
    assert_int_equal(spy_memory_limit_of("0::/free\n", root), SIZE_MAX);
    assert_int_equal(spy_memory_limit_of("0::/../not/seen/from/here\n", root), SIZE_MAX);
    assert_int_equal(spy_memory_limit_of("", root), SIZE_MAX);
    assert_int_equal(spy_memory_limit_of("nonsense\n::\n:\n", root), SIZE_MAX);
}

static void the_limit_is_found_where_the_cgroup_is_the_root(void **state)
{
    const char *root = *state;
    put(root, "/", "memory.max", "536870912");
    assert_int_equal(spy_memory_limit_of("0::/\n", root), 536870912);
    assert_int_equal(spy_memory_limit_of("0::/kubepods/not-mounted-here\n", root), 536870912);
}

static void the_limit_is_found_in_cgroup_version_1(void **state)
{
    const char *root = *state;
    put(root, "/memory/docker/abc", "memory.limit_in_bytes", "268435456\n");
    put(root, "/memory", "memory.limit_in_bytes", "9223372036854771712\n");
    const char *groups = "12:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n";
    assert_int_equal(spy_memory_limit_of(groups, root), 268435456);
}

RUN(T(budgets_add_up_to_at_most_the_limit), T(budgets_hold_the_smallest_and_the_largest_body),
    cmocka_unit_test_setup_teardown(the_least_limit_of_a_cgroup_and_its_parents_holds, make_root,
                                    remove_root),
    cmocka_unit_test_setup_teardown(the_limit_is_found_where_the_cgroup_is_the_root, make_root,
                                    remove_root),
    cmocka_unit_test_setup_teardown(the_limit_is_found_in_cgroup_version_1, make_root, remove_root))
