// What the kernel counted of a real process: threads that begin and end, a process that ends, and a
// CPU that two want.
#include "agent/sampler/kernel.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void schedstat_is_two_sums_and_a_count(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",     "1",    "1 ",     "x 1 1", "1 x 1",
        " 1 1", "-1 1", "1  1 1", "1 2x",  "99999999999999999999 1 1"};
    uint64_t cpu = 7, delay = 7;
    for (size_t i = 0; i < SPY_COUNT(wrong); i++)
        assert_false(spy_kernel_schedstat(wrong[i], &cpu, &delay));
    assert_true(cpu == 7 && delay == 7);
    assert_true(spy_kernel_schedstat("18446744073709551615 12 3\n", &cpu, &delay));
    assert_true(cpu == UINT64_MAX && delay == 12);
    assert_true(spy_kernel_schedstat("0 0 0\n", &cpu, &delay));
    assert_true(!cpu && !delay);
}

// --- a process that does what a test says ---

static void burn(uint64_t ns)
{
    for (uint64_t end = spy_clock_thread_cpu_ns() + ns; spy_clock_thread_cpu_ns() < end;)
        ;
}

static void *burn_in_thread(void *ms)
{
    burn((uint64_t)(uintptr_t)ms * SPY_NS_PER_MS);
    return NULL;
}

static void work_in_threads(size_t n, uintptr_t ms)
{
    pthread_t threads[16];
    for (size_t i = 0; i < n; i++)
        pthread_create(&threads[i], NULL, burn_in_thread, (void *)ms);
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

struct worker {
    pid_t pid;
    int start, done; // a byte each way
};

static struct worker start_worker(size_t threads, uintptr_t ms)
{
    int go[2], done[2];
    char byte = 'x';
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(done), 0);
    pid_t pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(go[1]);
        burn(SPY_NS_PER_MS); // so that its clock is not 0
        while (write(done[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 1) {
            if (threads)
                work_in_threads(threads, ms);
            else
                burn(ms * SPY_NS_PER_MS);
        }
        _exit(0);
    }
    close(go[0]);
    close(done[1]);
    assert_true(pid > 0);
    assert_int_equal(read(done[0], &byte, 1), 1);
    return (struct worker){.pid = pid, .start = go[1], .done = done[0]};
}

static void work(const struct worker *w)
{
    char byte = 'x';
    assert_int_equal(write(w->start, &byte, 1), 1);
    assert_int_equal(read(w->done, &byte, 1), 1);
}

static void end_worker(struct worker *w)
{
    close(w->start);
    close(w->done);
    if (w->pid) {
        kill(w->pid, SIGKILL); // another worker has the pipe too
        waitpid(w->pid, NULL, 0);
    }
}

struct counting {
    struct spy_target *target;
    struct spy_kernel *kernel;
    struct spy_limits *limits;
    uint64_t began;
};

static struct counting begin(pid_t pid)
{
    struct counting c = {.kernel = spy_kernel_new(), .limits = spy_limits_new()};
    assert_int_equal(spy_target_open(pid, &c.target, NULL), 0);
    c.began = spy_clock_mono_ns();
    spy_kernel_begin(c.kernel, c.target, c.limits, c.began);
    return c;
}

static struct spy_account take(struct counting *c)
{
    struct spy_account a;
    uint64_t now = spy_clock_mono_ns();
    spy_kernel_take(c->kernel, c->target, c->limits, now, now - c->began, &a);
    c->began = now;
    return a;
}

static void end(struct counting *c)
{
    spy_kernel_free(c->kernel);
    spy_limits_free(c->limits);
    spy_target_free(c->target);
}

static void assert_cpu(const struct spy_account *a, double ms)
{
    assert_true(spy_account_knows(a, SPY_CPU));
    double got = (double)a->counted[SPY_CPU].sum / 1e6;
    if (got < ms || got > ms * 1.2 + 20)
        fail_msg("%.1f ms of CPU, and it used %.0f", got, ms);
}

static void cpu_time_is_that_of_the_window(void **state)
{
    (void)state;
    struct worker w = start_worker(0, 60);
    struct counting c = begin(w.pid);
    for (int i = 0; i < 3; i++) {
        work(&w);
        struct spy_account a = take(&c);
        assert_cpu(&a, 60);
        assert_true(spy_account_knows(&a, SPY_RUNQUEUE));
        assert_true(a.counted[SPY_RUNQUEUE].sum <= a.counted[SPY_RUNQUEUE].of_ns);
    }
    struct spy_account rest = take(&c);
    // It said that it is done before it rested, and may wait for a CPU in between.
    for (int i = 0; i < 1000 && rest.counted[SPY_RUNQUEUE].sum >= 5 * SPY_NS_PER_MS; i++) {
        usleep(10000);
        rest = take(&c);
    }
    assert_true(spy_account_knows(&rest, SPY_CPU) && spy_account_knows(&rest, SPY_RUNQUEUE));
    assert_true(rest.counted[SPY_RUNQUEUE].sum < 5 * SPY_NS_PER_MS);
    end(&c);
    end_worker(&w);
}

// Their CPU time is in the process's; what they waited went with them, and that is said.
static void threads_that_begin_and_end_within_are_not_lost(void **state)
{
    (void)state;
    struct worker w = start_worker(4, 25);
    struct counting c = begin(w.pid);
    work(&w);
    struct spy_account a = take(&c);
    assert_cpu(&a, 100);
    assert_false(spy_account_knows(&a, SPY_RUNQUEUE));
    a = take(&c); // nothing ran: that is known
    assert_true(spy_account_knows(&a, SPY_RUNQUEUE));
    end(&c);
    end_worker(&w);
}

static void the_wait_of_two_processes_for_one_cpu_is_counted(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    struct worker a = start_worker(0, 300), b = start_worker(0, 300);
    assert_int_equal(sched_setaffinity(a.pid, sizeof one, &one), 0);
    assert_int_equal(sched_setaffinity(b.pid, sizeof one, &one), 0);
    struct counting c = begin(a.pid);
    char byte = 'x';
    assert_int_equal(write(a.start, &byte, 1), 1);
    work(&b);
    assert_int_equal(read(a.done, &byte, 1), 1);
    struct spy_account got = take(&c);
    assert_cpu(&got, 300);
    assert_true(spy_account_knows(&got, SPY_RUNQUEUE));
    double waited = (double)got.counted[SPY_RUNQUEUE].sum / 1e6;
    if (waited < 150) // of about 300
        fail_msg("it waited %.0f ms", waited);
    end(&c);
    end_worker(&a);
    end_worker(&b);
}

// A zombie still has its clock; once it was waited for, the latest look holds if it is recent.
static void an_ended_process_keeps_its_last_counts(void **state)
{
    (void)state;
    struct worker w = start_worker(0, 50);
    struct counting c = begin(w.pid);
    work(&w);
    close(w.start);
    w.start = -1;
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)w.pid, &info, WEXITED | WNOWAIT), 0);
    struct spy_account a = take(&c);
    assert_cpu(&a, 50);
    waitpid(w.pid, NULL, 0);
    w.pid = 0;
    a = take(&c);
    assert_false(spy_account_knows(&a, SPY_CPU));
    assert_false(spy_account_knows(&a, SPY_RUNQUEUE));
    a = take(&c);
    assert_false(spy_account_knows(&a, SPY_CPU));
    end(&c);
    end_worker(&w);

    w = start_worker(0, 200);
    c = begin(w.pid);
    for (int i = 0; i < 12; i++)
        work(&w);
    spy_kernel_poll(c.kernel, c.target, spy_clock_mono_ns(), true);
    kill(w.pid, SIGKILL);
    waitpid(w.pid, NULL, 0);
    w.pid = 0;
    a = take(&c);
    assert_cpu(&a, 2400);
    assert_false(spy_account_knows(&a, SPY_RUNQUEUE));
    end(&c);
    end_worker(&w);
}

static void no_counter_is_known_before_counting_begins(void **state)
{
    (void)state;
    struct spy_account a;
    struct counting c = begin(getpid());
    assert_true(spy_kernel_has_begun(c.kernel));
    spy_kernel_forget(c.kernel);
    assert_false(spy_kernel_has_begun(c.kernel));
    a = take(&c);
    for (int i = 0; i < SPY_COUNTERS; i++)
        assert_false(spy_account_knows(&a, i));
    spy_kernel_take(NULL, c.target, c.limits, 1, 1, &a); // out of memory
    spy_kernel_poll(NULL, c.target, 1, true);
    assert_false(spy_account_knows(&a, SPY_CPU));
    end(&c);
}

RUN(T(schedstat_is_two_sums_and_a_count), T(cpu_time_is_that_of_the_window),
    T(threads_that_begin_and_end_within_are_not_lost),
    T(the_wait_of_two_processes_for_one_cpu_is_counted), T(an_ended_process_keeps_its_last_counts),
    T(no_counter_is_known_before_counting_begins))
