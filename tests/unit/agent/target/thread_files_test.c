// The small files of many threads, under a limit of open files that is far too low for all of them.
#include "agent/target/threads.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 60, LIMIT = 40, MOST = LIMIT / 2 };

static pid_t child;
static struct spy_target *target;
static struct spy_tid *list;
static size_t n;
static struct spy_thread_probe probes[THREADS + 1];

static void *wait_for_ever(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static int start(void **state)
{
    (void)state;
    int ends[2];
    char byte = 0;
    struct rlimit l = {LIMIT, LIMIT};
    if (setrlimit(RLIMIT_NOFILE, &l) < 0 || pipe(ends) < 0)
        return -1;
    child = fork();
    if (child == 0) {
        pthread_attr_t small;
        pthread_t th;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 1 << 17);
        for (int i = 0; i < THREADS; i++)
            if (pthread_create(&th, &small, wait_for_ever, NULL))
                _exit(1);
        if (write(ends[1], &byte, 1) != 1)
            _exit(1);
        wait_for_ever(NULL);
    }
    if (read(ends[0], &byte, 1) != 1 || spy_target_open(child, &target, NULL) < 0 ||
        spy_threads_list(target, &list, &n) < 0 || n < THREADS + 1)
        return -1;
    close(ends[0]);
    close(ends[1]);
    for (size_t i = 0; i <= THREADS; i++) {
        struct spy_thread_state s = {.running = true};
        spy_thread_probe_init(&probes[i], target, list[i].tid);
        for (int k = 0; k < 5000 && s.running; k++) { // until it has begun to wait
            usleep(1000);
            if (spy_thread_probe_state(&probes[i], &s) < 0)
                return -1;
        }
        spy_thread_probe_done(&probes[i]);
    }
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (size_t i = 0; i <= THREADS; i++)
        spy_thread_probe_done(&probes[i]);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    spy_target_free(target);
    free(list);
    return spy_thread_files_kept() ? -1 : 0;
}

static size_t n_open(const struct spy_thread_probe *p)
{
    size_t open = 0;
    for (int i = 0; i < SPY_THREAD_FILES; i++)
        open += p->files.fd[i] >= 0;
    return open;
}

static void ask_all(int expected)
{
    struct spy_thread_state s;
    struct spy_thread_sched sched;
    for (size_t i = 0; i <= THREADS; i++) {
        s.running = true;
        assert_int_equal(spy_thread_probe_state(&probes[i], &s), expected);
        assert_int_equal(spy_thread_probe_sched(&probes[i], &sched), expected);
        assert_int_equal(s.running, expected != 0);
    }
}

static void probes_keep_files_within_half_of_the_limit(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        ask_all(0);
    assert_in_range(spy_thread_files_kept(), MOST / 2, MOST);
    for (size_t i = 0; i <= THREADS; i++)
        for (int k = 0; k < SPY_THREAD_FILES; k++)
            assert_true(probes[i].files.fd[k] < MOST);
}

static void busy_threads_get_the_files_of_waiting_ones(void **state)
{
    (void)state;
    ask_all(0);
    struct spy_thread_probe *busy = &probes[THREADS];
    assert_int_equal(n_open(busy), 0);
    spy_thread_files_set_busy(&busy->files, true);
    ask_all(0);
    assert_int_equal(n_open(busy), 2);
    assert_true(spy_thread_files_kept() <= MOST);
    spy_thread_files_set_busy(&busy->files,
                              false); // it waits again: last in the queue to give back
    for (size_t i = 0; i < 4; i++)
        spy_thread_files_set_busy(&probes[THREADS - 1 - i].files, true);
    ask_all(0);
    assert_int_equal(n_open(busy), 2);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(n_open(&probes[THREADS - 1 - i]), 2);
    assert_true(spy_thread_files_kept() <= MOST);
}

// Somebody else has all the rest: files that wait for use are given up, and with not one left
// nothing is claimed of any thread.
static void without_a_free_descriptor_a_probe_is_an_error(void **state)
{
    (void)state;
    int held[LIMIT], n_held = 0;
    ask_all(0);
    while ((held[n_held] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        n_held++;
    ask_all(0);
    for (size_t i = 0; i <= THREADS; i++) {
        spy_thread_files_set_busy(&probes[i].files, false);
        spy_thread_probe_done(&probes[i]);
    }
    assert_int_equal(spy_thread_files_kept(), 0);
    while ((held[n_held] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        n_held++;
    ask_all(SPY_ERR_LIMIT);
    while (n_held)
        close(held[--n_held]);
    ask_all(0);
}

static void the_end_of_a_thread_is_seen_with_and_without_an_open_file(void **state)
{
    (void)state;
    ask_all(0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    struct spy_thread_state s;
    for (size_t i = 0; i <= THREADS; i++)
        assert_int_equal(spy_thread_probe_state(&probes[i], &s), SPY_ERR_GONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(probes_keep_files_within_half_of_the_limit),
        T(busy_threads_get_the_files_of_waiting_ones),
        T(without_a_free_descriptor_a_probe_is_an_error),
        T(the_end_of_a_thread_is_seen_with_and_without_an_open_file),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
