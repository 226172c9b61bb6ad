// Does a thread run, or wait for a CPU? Held against two threads that share one CPU.
#include "agent/target/switches.h"
#include "shared/base/clock.h"
#include "tests/unit/test.h"
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DASHES "-------------------------------------------------------------------\n"

static void the_file_of_a_usual_kernel_is_parsed(void **state)
{
    (void)state;
    struct spy_thread_switches s;
    assert_true(spy_thread_switches_parse("python3 (12, #threads: 1)\n" DASHES
                                          "se.exec_start             :        932105.865345\n"
                                          "se.vruntime               :         43391.002996\n"
                                          "nr_switches               :                   17\n"
                                          "nr_voluntary_switches     :                    9\n",
                                          &s));
    assert_int_equal(s.n, 17);
    assert_int_equal(s.updated_ns, 932105865345);
}

static void a_malformed_sched_file_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        DASHES,
        "x (1, #threads: 1)\n" DASHES "se.exec_start : 1.000000\n",
        "x (1, #threads: 1)\n" DASHES "nr_switches : 1\nse.exec_start : 1.000000\n",
        "x (1, #threads: 1)\n" DASHES "se.exec_start : 1.5\nnr_switches : 1\n",
        "x (1, #threads: 1)\n" DASHES
        "se.exec_start : 99999999999999999999.000000\nnr_switches : 1\n",
        "x (1, #threads: 1)\n" DASHES "se.exec_start 1.000000\nnr_switches : 1\n",
    };
    struct spy_thread_switches s = {.n = 5};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_false(spy_thread_switches_parse(texts[i], &s));
    assert_int_equal(s.n, 5);
}

// A thread's name is its own choice, and may hold newlines.
static void a_thread_cannot_forge_its_counts_by_its_name(void **state)
{
    (void)state;
    struct spy_thread_switches s;
    assert_true(spy_thread_switches_parse("\n---\nse.exec_st (12, #threads: 1)\n" DASHES
                                          "se.exec_start : 1.000000\nnr_switches : 3\n",
                                          &s));
    assert_int_equal(s.n, 3);
}

// --- two that share one CPU ---

static pid_t child[2];
static struct spy_target *target[2];
static struct spy_thread_probe probe[2];
static cpu_set_t before;

static void pin(size_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    assert_int_equal(sched_setaffinity(0, sizeof set, &set), 0);
}

static size_t first_cpu(void)
{
    size_t i = 0;
    while (!CPU_ISSET(i, &before))
        i++;
    return i;
}

// 0: there is none.
static size_t second_cpu(void)
{
    int seen = 0;
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &before) && seen++)
            return i;
    return 0;
}

static int start(void **state)
{
    (void)state;
    sched_getaffinity(0, sizeof before, &before);
    size_t shared = second_cpu();
    if (shared)
        pin(first_cpu());
    for (int i = 0; i < 2 && shared; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            pin(shared);
            for (volatile unsigned n = 0;; n++)
                ;
        }
        if (spy_target_open(child[i], &target[i], NULL) < 0)
            return -1;
        spy_thread_probe_init(&probe[i], target[i], child[i]);
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        if (!child[i])
            continue;
        spy_thread_probe_done(&probe[i]);
        spy_target_free(target[i]);
        kill(child[i], SIGKILL);
        waitpid(child[i], NULL, 0);
    }
    return sched_setaffinity(0, sizeof before, &before);
}

static bool is_on_cpu(int i)
{
    struct spy_thread_sched given;
    struct spy_thread_switches taken;
    assert_int_equal(spy_thread_probe_sched(&probe[i], &given), 0);
    assert_int_equal(spy_thread_probe_switches(&probe[i], &taken), 0);
    return given.slices == taken.n + 1;
}

// From the other CPU: where the looker takes the CPU of the two, both wait whenever it looks. With
// more programs on theirs neither runs for most of the time, so it looks until it has seen each.
static void one_of_two_threads_on_a_cpu_is_seen_running(void **state)
{
    (void)state;
    enum { LOOKS_MIN = 500, LOOKS_MAX = 100000, SEEN = 25, GAP_NS = 700000 };
    int looks = 0, both = 0, runs[2] = {0};
    if (!child[0]) {
        print_message("left out: needs two CPUs\n");
        skip();
    }
    for (int k = 0; k < 2; k++) {
        struct spy_thread_switches s;
        if (spy_thread_probe_switches(&probe[k], &s) == SPY_ERR_NOTFOUND) {
            print_message("left out: a kernel without CONFIG_SCHED_DEBUG\n");
            skip();
        }
    }
    while (looks < LOOKS_MIN || ((runs[0] < SEEN || runs[1] < SEEN) && looks < LOOKS_MAX)) {
        spy_clock_sleep_until(spy_clock_mono_ns() + GAP_NS);
        bool first = is_on_cpu(0), second = is_on_cpu(1);
        both += first && second;
        runs[0] += first;
        runs[1] += second;
        looks++;
    }
    print_message("of %d looks: the first runs in %d, the second in %d, both in %d\n", looks,
                  runs[0], runs[1], both);
    assert_true(runs[0] >= SEEN && runs[1] >= SEEN);
    assert_true(both < looks / 50); // a switch between the looks at each
}

RUN(T(the_file_of_a_usual_kernel_is_parsed), T(a_malformed_sched_file_is_refused),
    T(a_thread_cannot_forge_its_counts_by_its_name),
    cmocka_unit_test_setup_teardown(one_of_two_threads_on_a_cpu_is_seen_running, start, end))
