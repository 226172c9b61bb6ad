// The sampler over many processes at once, over those that end or were never Python, and what it
// allocates once it is warm (nothing).
#include "children.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 1
// glibc's own names for the functions that these stand in front of.
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
static volatile unsigned long allocations;
void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t size)
{
    allocations++;
    return __libc_realloc(p, size);
}
#endif

// CMakeLists.txt puts this in front of spy_clock_real_ns: somebody sets the machine's clock.
uint64_t __real_spy_clock_real_ns(void);
uint64_t __wrap_spy_clock_real_ns(void);
static uint64_t clock_set_back;
uint64_t __wrap_spy_clock_real_ns(void)
{
    return __real_spy_clock_real_ns() - clock_set_back;
}

static const struct spy_series *series_of(const struct spy_profile *p, pid_t pid,
                                          const char **problem)
{
    const struct spy_series *found = NULL;
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const char *text = spy_profile_series_label(p, i, SPY_LABEL_PID);
        const struct spy_series *e = spy_profile_series_get(p, i);
        if (text && strtol(text, NULL, 10) == pid && e->start_ns) {
            found = e;
            if (problem)
                *problem = spy_profile_series_label(p, i, SPY_LABEL_PROBLEM);
        }
    }
    return found;
}

enum { MANY = 200 };

static size_t parse_pids(const char *line, pid_t *pids)
{
    size_t n = 0;
    char *at;
    for (long pid; n < MANY && (pid = strtol(line, &at, 10)) > 0; line = at)
        pids[n++] = (pid_t)pid;
    return n;
}

struct many {
    struct spy_sampler *sampler;
    const pid_t *pids;
};

static bool measure_many(void *arg)
{
    const struct many *m = arg;
    uint64_t fewest = UINT64_MAX;
    run_for(m->sampler, 3);
    const struct spy_profile *p = spy_sampler_close(m->sampler);
    for (size_t i = 0; i < MANY; i++) {
        const char *problem = NULL;
        const struct spy_series *e = series_of(p, m->pids[i], &problem);
        assert_null(problem);
        uint64_t n = e ? e->quality.clean + e->quality.paused : 0; // a window without samples
        fewest = n < fewest ? n : fewest;
    }
    spy_sampler_reset(m->sampler);
    return fewest > 4;
}

static void two_hundred_processes_are_sampled_and_their_ends_noticed(void **state)
{
    (void)state;
    char line[4096];
    pid_t pids[MANY];
    struct child c = start_child("forks.py", "200");
    read_line(&c, line, sizeof line);
    assert_int_equal(parse_pids(line, pids), MANY);
    struct spy_sampler *s = new_sampler(0);
    for (size_t i = 0; i < MANY; i++)
        add_process(s, pids[i], 10, SPY_PAUSE_AUTO);
    assert_int_equal(spy_sampler_n_processes(s), MANY);
    for (int i = 0; i < 400 && !spy_sampler_attached(s, pids[MANY - 1]); i++)
        run_for(s, 0.5);
    struct many many = {s, pids};
    assert_measured(measure_many, &many, "five samples of each process", 5);
    for (size_t i = 0; i < MANY; i += 2) // they end while others are read
        kill(pids[i], SIGKILL);
    run_for(s, 3);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(spy_sampler_ended(s, pids[i]), i % 2 == 0);
        if (i % 3 == 0)
            spy_sampler_remove(s, pids[i]);
    }
    const struct spy_profile *p = spy_sampler_close(s);
    assert_true(series_of(p, pids[1], NULL)->quality.clean > 2);
    spy_sampler_free(s);
    end_child(&c);
}

static pid_t simple(const char *program)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (program)
            execl(program, program, "600", (char *)NULL);
        _exit(0);
    }
    return pid;
}

static void a_process_without_python_is_listed_with_a_reason(void **state)
{
    (void)state;
    pid_t sleeper = simple("/bin/sleep"), zombie = simple(NULL), none = 1 << 22;
    siginfo_t info;
    waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT);
    struct child python = start_steady();
    struct spy_sampler *s = new_sampler(0);
    add_process(s, sleeper, 50, SPY_PAUSE_AUTO);
    add_process(s, zombie, 50, SPY_PAUSE_ALWAYS);
    add_process(s, none, 50, SPY_PAUSE_NEVER);
    add_process(s, python.pid, 50, SPY_PAUSE_AUTO);
    for (int i = 0; i < 60 && spy_sampler_totals(s).samples < 80; i++)
        run_for(s, 1);
    assert_non_null(strstr(spy_sampler_problem(s, sleeper), "no Python in process"));
    assert_non_null(strstr(spy_sampler_problem(s, zombie), "zombie"));
    assert_non_null(strstr(spy_sampler_problem(s, none), "there is no process"));
    assert_null(spy_sampler_problem(s, python.pid));
    assert_true(spy_sampler_ended(s, none) && spy_sampler_ended(s, zombie));
    assert_true(!spy_sampler_ended(s, sleeper) && spy_sampler_attached(s, python.pid));
    const struct spy_profile *p = spy_sampler_close(s);
    const char *problem = NULL;
    const struct spy_series *e = series_of(p, sleeper, &problem);
    assert_non_null(e);
    assert_non_null(strstr(problem, "no Python in process"));
    assert_true(e->quality.failed > 0 && e->quality.clean == 0);
    e = series_of(p, python.pid, &problem);
    assert_true(e->quality.clean + e->quality.paused >= 4 * 20);
    assert_true(e->period_ns > 15000000); // longer where rounds come late
    spy_sampler_free(s);
    kill(sleeper, SIGKILL);
    waitpid(sleeper, NULL, 0);
    waitpid(zombie, NULL, 0);
    end_child(&python);
}

// Weights come from a series' time: it must not begin while there was nothing to sample.
static void a_late_interpreter_has_the_time_since_it_was_found(void **state)
{
    (void)state;
    enum { LATE_US = 1000000 };
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        usleep(LATE_US);
        execl("/usr/bin/python3", "python3", "-c", "import time; time.sleep(60)", (char *)NULL);
        _exit(1);
    }
    struct spy_sampler *s = new_sampler(0);
    uint64_t began = spy_clock_mono_ns();
    add_process(s, pid, 50, SPY_PAUSE_AUTO);
    for (int i = 0; i < 10000 && !spy_sampler_attached(s, pid); i++)
        run_for(s, 0.01);
    assert_true(spy_sampler_attached(s, pid));
    run_for(s, 0.5);
    const struct spy_profile *p = spy_sampler_close(s);
    uint64_t all = spy_clock_mono_ns() - began;
    unsigned found = 0;
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const struct spy_series *e = spy_profile_series_get(p, i);
        bool healthy = !spy_profile_series_label(p, i, SPY_LABEL_PROBLEM);
        found += e->start_ns ? healthy ? 1 : 100 : 0;
        assert_true(!healthy || (!e->quality.failed && e->quality.clean > 0));
        assert_true(e->duration_ns + LATE_US * 900ull < all || !healthy);
    }
    assert_true(found > 100 && found % 100 == 1); // one healthy, and one for each reason before
    spy_sampler_free(s);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

// Field 22 of /proc/PID/stat of a program whose name holds no space.
static uint64_t start_time_of(pid_t pid)
{
    char path[40], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    char *at = text;
    for (int i = 0; at && i < 21; i++)
        at = strchr(at + 1, ' ');
    assert_non_null(at);
    return strtoull(at, NULL, 10);
}

static void a_reused_pid_is_not_read(void **state)
{
    (void)state;
    struct child c = start_steady();
    struct spy_sampler *s = new_sampler(0);
    struct spy_sampler_process p = {.pid = c.pid, .rate = 50, .start_time = start_time_of(c.pid)};
    assert_int_equal(spy_sampler_add(s, &p, NULL), 0);
    for (int i = 0; i < 200 && !spy_sampler_attached(s, c.pid); i++)
        run_for(s, 0.3);
    assert_true(spy_sampler_attached(s, c.pid));
    p.start_time--;
    assert_int_equal(spy_sampler_add(s, &p, NULL), 0);
    for (int i = 0; i < 200 && !spy_sampler_ended(s, c.pid); i++)
        run_for(s, 0.3);
    assert_false(spy_sampler_attached(s, c.pid));
    assert_true(spy_sampler_ended(s, c.pid));
    assert_non_null(strstr(spy_sampler_problem(s, c.pid), "another's"));
    spy_sampler_free(s);
    end_child(&c);
}

static void a_warm_round_allocates_nothing(void **state)
{
    (void)state;
#ifdef COUNTS_ALLOCATIONS
    static const unsigned modes[] = {SPY_PAUSE_NEVER, SPY_PAUSE_AUTO, SPY_PAUSE_ALWAYS};
    struct child c = start_steady();
    for (size_t i = 0; i < SPY_COUNT(modes); i++) {
        struct spy_sampler *s = new_sampler(0);
        add_process(s, c.pid, 0, modes[i]);
        // A round that meets a function for the first time may allocate, and a rare one can come
        // late: of some seconds one must be without.
        unsigned long fewest = ULONG_MAX;
        for (int second = 0; second < 30 && fewest; second++) {
            uint64_t samples = spy_sampler_totals(s).samples;
            unsigned long before = allocations;
            run_for(s, 1); // four times as long as the list of threads is kept
            if (spy_sampler_totals(s).samples - samples >
                1000) // on a busy machine some seconds have fewer
                fewest = allocations - before < fewest ? allocations - before : fewest;
        }
        assert_int_equal(fewest, 0);
        spy_sampler_free(s);
    }
    end_child(&c);
#else
    print_message("left out: a sanitizer owns malloc\n");
    skip();
#endif
}

// What else the machine does makes reads longer, and so they are torn more often, for a while.
static bool measure_pauses(void *child)
{
    const struct child *c = child;
    struct spy_sampler *s = new_sampler(0);
    add_process(s, c->pid, 500, SPY_PAUSE_AUTO);
    run_for(s, 2);
    struct spy_sampler_totals t = spy_sampler_totals(s);
    print_message("%llu samples, %llu paused, %llu failed\n", (unsigned long long)t.samples,
                  (unsigned long long)t.paused, (unsigned long long)t.failed);
    spy_sampler_free(s);
    return t.samples > 300 && t.failed < t.samples / 100 && t.paused < t.samples / 20;
}

// Most reads of an ordinary program hang together without a pause, and the sampler knows that.
static void an_ordinary_program_is_seldom_paused(void **state)
{
    (void)state;
    struct child c = start_steady();
    assert_measured(measure_pauses, &c, "samples that were paused", 12);
    end_child(&c);
}

static void setting_the_clock_changes_no_weights(void **state)
{
    (void)state;
    struct child c = start_steady();
    struct spy_sampler *s = new_sampler(0);
    add_process(s, c.pid, 100, SPY_PAUSE_AUTO);
    run_for(s, 0.5);
    clock_set_back = 3600 * SPY_NS_PER_SEC;
    run_for(s, 0.5);
    const struct spy_series *e = series_of(spy_sampler_close(s), c.pid, NULL);
    clock_set_back = 0;
    assert_true(e->duration_ns > SPY_NS_PER_SEC / 2 && e->duration_ns < 60 * SPY_NS_PER_SEC);
    assert_true(e->period_ns > 5 * SPY_NS_PER_MS && e->period_ns < 10 * SPY_NS_PER_SEC);
    spy_sampler_free(s);
    end_child(&c);
}

static uint64_t count_in(const struct spy_profile *p, const char *function)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        const struct spy_sample *e = spy_profile_sample_at(p, i);
        const struct spy_stack *stack = e->stack ? spy_profile_stack_at(p, e->stack) : NULL;
        uint32_t f = stack ? spy_profile_frame_at(p, stack->frame)->function : 0;
        if (!function ||
            (f && !strcmp(spy_profile_text(p, spy_profile_function_at(p, f)->name), function)))
            n += e->count;
    }
    return n;
}

enum { SLEEPERS = 8 };

static void start_sleepers(struct spy_sampler *s, struct child *list, size_t n)
{
    char line[64];
    for (size_t i = 0; i < n; i++) {
        list[i] = start_child("sleeper.py", NULL);
        read_line(&list[i], line, sizeof line);
        add_process(s, list[i].pid, 200, SPY_PAUSE_AUTO);
    }
}

static void end_children(struct child *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        end_child(&list[i]);
}

// How often the sampler asked whether a process was quiet: once for each look.
bool __real_spy_python_is_quiet(struct spy_python *p);
bool __wrap_spy_python_is_quiet(struct spy_python *p);
static uint64_t looks;
bool __wrap_spy_python_is_quiet(struct spy_python *p)
{
    looks++;
    return __real_spy_python_is_quiet(p);
}

struct sleep_test {
    struct spy_sampler *sampler;
    struct child sleepers[1 + SLEEPERS];
    size_t n;
};

// The rounds of a sleeper, which has two threads. Its time must be the time that passed, but for what
// the scheduler lets pass between the end of a run and the look at the clock. Samples fail, or are
// had in part, only of a thread that waits for a CPU and so does not stop in time.
static uint64_t rounds_in(const struct spy_profile *p, pid_t pid, uint64_t took_ns,
                          bool *ret_is_whole)
{
    const struct spy_series *e = series_of(p, pid, NULL);
    uint64_t samples = e->quality.clean + e->quality.paused;
    uint64_t not_whole = e->quality.salvaged + e->quality.failed;
    assert_true(samples > 0 && (samples + not_whole) % 2 == 0);
    double time = (double)(samples / 2 * e->period_ns) / (double)took_ns;
    *ret_is_whole = *ret_is_whole && !not_whole && time > 0.95 && time < 1.05;
    return samples / 2;
}

static bool measure_sleep(void *arg)
{
    const struct sleep_test *t = arg;
    uint64_t before = spy_sampler_totals(t->sampler).samples, began = spy_clock_mono_ns();
    spy_sampler_reset(t->sampler);
    looks = 0;
    run_for(t->sampler, 1);
    const struct spy_profile *p = spy_sampler_close(t->sampler);
    uint64_t took = spy_clock_mono_ns() - began;
    uint64_t rounds = 0, skipped = 0; // where the machine stalls
    bool is_whole = true;
    for (size_t i = 0; i < t->n; i++) {
        rounds += rounds_in(p, t->sleepers[i].pid, took, &is_whole);
        skipped += series_of(p, t->sleepers[i].pid, NULL)->quality.late;
    }
    assert_int_equal(count_in(p, NULL), spy_sampler_totals(t->sampler).samples - before);
    assert_int_equal(count_in(p, "work"), 0);
    print_message("%llu rounds, %llu looks\n", (unsigned long long)rounds,
                  (unsigned long long)looks);
    bool in_some = looks < rounds / 4 && looks > rounds / 12, in_all = looks >= rounds - 1;
    return is_whole && rounds + skipped > 150 * t->n && rounds < 250 * t->n &&
           (t->n > 1 ? in_some : in_all);
}

// It works for 0.3 s of a second.
static bool measure_work(void *arg)
{
    const struct sleep_test *t = arg;
    uint64_t began = spy_clock_mono_ns();
    bool is_whole = true;
    spy_sampler_reset(t->sampler);
    assert_int_equal(write(t->sleepers[0].in, "\n", 1), 1);
    run_for(t->sampler, 1);
    const struct spy_profile *p = spy_sampler_close(t->sampler);
    uint64_t rounds = rounds_in(p, t->sleepers[0].pid, spy_clock_mono_ns() - began, &is_whole);
    return is_whole && count_in(p, "work") > rounds / 5 && count_in(p, "work") < rounds * 2 / 5;
}

// Rounds in which nothing had run are counted like all others, and end when something runs.
static void sleep_and_wake_among(size_t n_others)
{
    struct sleep_test t = {.sampler = new_sampler(0), .n = 1 + n_others};
    start_sleepers(t.sampler, t.sleepers, t.n);
    run_for(t.sampler, 4); // they are attached to, and found to rest
    uint64_t samples = spy_sampler_totals(t.sampler).samples;
    const struct spy_profile *p = spy_sampler_close(t.sampler);
    assert_int_equal(count_in(p, NULL), samples);
    assert_int_equal(count_in(p, "work"), 0);
    assert_measured(measure_sleep, &t, "rounds of sleeping processes", 10);
    assert_measured(measure_work, &t, "rounds of a process that woke up", 10);
    spy_sampler_free(t.sampler);
    end_children(t.sleepers, t.n);
}

static void a_sleeping_process_is_counted_until_it_wakes(void **state)
{
    (void)state;
    sleep_and_wake_among(0);
}

// Of many, those that sleep for long are looked at in some of the rounds only.
static void one_of_many_sleeping_processes_is_counted_until_it_wakes(void **state)
{
    (void)state;
    sleep_and_wake_among(SLEEPERS);
}

// The kernel brings a process's CPU time up to date when a thread stops running or at a tick, some
// milliseconds apart: one that has just woken up has run all the same.
// Where both have to share a CPU, the sampler often has its turn when the other has done its work.
static bool put_on_cpus(pid_t pid, cpu_set_t *ret_before)
{
    cpu_set_t one;
    if (sched_getaffinity(0, sizeof *ret_before, ret_before) < 0 || CPU_COUNT(ret_before) < 2)
        return false;
    pid_t pids[] = {pid, 0};
    for (size_t i = 0, cpu = 0; i < 2; cpu++)
        if (CPU_ISSET(cpu, ret_before)) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            assert_int_equal(sched_setaffinity(pids[i++], sizeof one, &one), 0);
        }
    return true;
}

struct bursts {
    struct spy_sampler *sampler;
    pid_t pid;
};

static bool measure_bursts(void *arg)
{
    const struct bursts *b = arg;
    spy_sampler_reset(b->sampler);
    uint64_t cpu = spy_clock_process_cpu_ns(b->pid), began = spy_clock_mono_ns();
    run_for(b->sampler, 5);
    double worked =
        (double)(spy_clock_process_cpu_ns(b->pid) - cpu) / (double)(spy_clock_mono_ns() - began);
    const struct spy_profile *p = spy_sampler_close(b->sampler);
    const struct spy_series *e = series_of(p, b->pid, NULL);
    double rounds = (double)(e->quality.clean + e->quality.paused) / 2; // two threads
    double seen = (double)count_in(p, "burst") / rounds;
    print_message("works %.1f %% of the time, seen at it in %.1f %% of the rounds\n", 100 * worked,
                  100 * seen);
    return seen > worked / 2;
}

static void see_bursts_among(size_t n_sleepers)
{
    struct child sleepers[SLEEPERS];
    char line[64];
    struct child c = start_child("bursts.py", NULL);
    read_line(&c, line, sizeof line);
    cpu_set_t cpus;
    if (!put_on_cpus(c.pid, &cpus)) {
        end_child(&c);
        print_message("left out: needs two CPUs\n");
        skip();
    }
    struct spy_sampler *s = new_sampler(0);
    add_process(s, c.pid, 200, SPY_PAUSE_AUTO);
    start_sleepers(s, sleepers, n_sleepers);
    run_for(s, 1);
    spy_sampler_close(s);
    struct bursts bursts = {s, c.pid};
    assert_measured(measure_bursts, &bursts, "the share of short work", 5);
    sched_setaffinity(0, sizeof cpus, &cpus);
    spy_sampler_free(s);
    end_children(sleepers, n_sleepers);
    end_child(&c);
}

static void short_work_after_a_sleep_is_seen(void **state)
{
    (void)state;
    see_bursts_among(0);
}

static void short_work_is_seen_among_many_sleeping_processes(void **state)
{
    (void)state;
    see_bursts_among(SLEEPERS);
}

static bool measure_budget(void *sampler)
{
    uint64_t cpu = spy_clock_cpu_ns(), samples = spy_sampler_totals(sampler).samples;
    run_for(sampler, 3);
    assert_true(spy_sampler_totals(sampler).samples > samples);
    return (double)(spy_clock_cpu_ns() - cpu) / 3e9 < 0.01;
}

static void the_cpu_budget_is_kept(void **state)
{
    (void)state;
    struct child c = start_steady();
    struct spy_sampler *s = new_sampler(0.5);
    add_process(s, c.pid, 1000, SPY_PAUSE_ALWAYS);
    run_for(s, 4);
    assert_measured(measure_budget, s, "less than one per cent of a CPU", 3);
    const struct spy_profile *p = spy_sampler_close(s);
    assert_true(series_of(p, c.pid, NULL)->period_ns > 1500000); // the effective one is told
    spy_sampler_free(s);
    end_child(&c);
}

static void a_due_round_is_run_however_near_the_deadline(void **state)
{
    (void)state;
    enum { RUNS = 100, NEAR_NS = 1000 }; // less than raising the priority takes
    struct child c = start_steady();
    struct spy_sampler *s = new_sampler(0);
    add_process(s, c.pid, 0, SPY_PAUSE_AUTO);
    run_for(s, 1);
    uint64_t before = spy_sampler_totals(s).samples + spy_sampler_totals(s).failed;
    assert_true(before > 0);
    for (int i = 0; i < RUNS; i++)
        spy_sampler_run(s, spy_clock_mono_ns() + NEAR_NS, NULL);
    assert_true(spy_sampler_totals(s).samples + spy_sampler_totals(s).failed > before + RUNS / 2);
    spy_sampler_free(s);
    end_child(&c);
}

static void a_stop_ends_a_run_at_once(void **state)
{
    (void)state;
    struct spy_sampler *s = new_sampler(0);
    _Atomic int stop = 1;
    uint64_t now = spy_clock_mono_ns();
    spy_sampler_run(s, now + 60 * SPY_NS_PER_SEC, &stop);
    assert_true(spy_clock_mono_ns() - now < 30 * SPY_NS_PER_SEC);
    spy_sampler_free(s);
}

RUN(T(two_hundred_processes_are_sampled_and_their_ends_noticed),
    T(a_process_without_python_is_listed_with_a_reason),
    T(a_late_interpreter_has_the_time_since_it_was_found), T(a_reused_pid_is_not_read),
    T(a_warm_round_allocates_nothing), T(an_ordinary_program_is_seldom_paused),
    T(setting_the_clock_changes_no_weights), T(a_sleeping_process_is_counted_until_it_wakes),
    T(one_of_many_sleeping_processes_is_counted_until_it_wakes),
    T(short_work_after_a_sleep_is_seen), T(short_work_is_seen_among_many_sleeping_processes),
    T(the_cpu_budget_is_kept), T(a_due_round_is_run_however_near_the_deadline),
    T(a_stop_ends_a_run_at_once))
