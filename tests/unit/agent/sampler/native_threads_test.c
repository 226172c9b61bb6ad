// The list of threads that Python does not know: whom it holds, when it changes, and when a thread
// counts as having run.
#include "agent/sampler/native_threads.h"
#include "children.h"
#include "tests/unit/test.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TRIES = 1200, STEP_US = 10000 }; // a busy machine may not run a program for seconds

struct pool {
    pid_t pid;
    int to, from; // a byte to it makes its second thread run once; it answers with a byte
    struct spy_target *target;
    struct spy_native_threads *list;
};

static int orders, answers;

static void *obey(void *unused)
{
    char byte;
    (void)unused;
    while (read(orders, &byte, 1) == 1 && byte != 'q' && write(answers, &byte, 1) == 1)
        continue;
    return NULL;
}

// Two threads: the first waits, the second obeys until it is told to quit.
static void run_pool(void)
{
    pthread_t thread;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pthread_create(&thread, NULL, obey, NULL);
    pthread_setname_np(thread, "obeys");
    for (;;)
        pause();
}

static struct pool start_pool(void)
{
    struct pool p;
    int to[2], from[2];
    assert_int_equal(pipe(to), 0);
    assert_int_equal(pipe(from), 0);
    p.pid = fork();
    if (p.pid == 0) {
        orders = to[0];
        answers = from[1];
        run_pool();
    }
    close(to[0]);
    close(from[1]);
    p.to = to[1];
    p.from = from[0];
    char byte = 'x';
    assert_int_equal(write(p.to, &byte, 1), 1);
    assert_int_equal(read(p.from, &byte, 1), 1);
    assert_int_equal(spy_target_open(p.pid, &p.target, NULL), 0);
    p.list = spy_native_threads_new(p.target);
    assert_non_null(p.list);
    return p;
}

static void end_pool(struct pool *p)
{
    spy_native_threads_free(p->list);
    spy_target_free(p->target);
    close(p->to);
    close(p->from);
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
}

static void look_at_all(struct pool *p)
{
    for (size_t i = 0; i < spy_native_threads_n(p->list); i++)
        spy_native_threads_look(p->list, i, NULL);
}

static bool becomes_quiet(struct pool *p)
{
    for (int i = 0; i < TRIES && !spy_native_threads_are_quiet(p->list); i++) {
        look_at_all(p);
        usleep(STEP_US);
    }
    return spy_native_threads_are_quiet(p->list);
}

static void threads_are_listed_once_they_are_settled(void **state)
{
    (void)state;
    struct pool p = start_pool();
    assert_int_equal(spy_native_threads_n(p.list), 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(spy_native_threads_look(p.list, i, NULL), SPY_ERR_GONE);
    spy_native_threads_settle(p.list, NULL);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(spy_native_threads_look(p.list, i, NULL), 0);
    assert_int_equal(spy_native_threads_at(p.list, 0)->tid, p.pid);
    assert_string_equal(spy_native_threads_at(p.list, 1)->name, "obeys");
    end_pool(&p);
}

static void a_thread_that_has_run_has_no_stack(void **state)
{
    (void)state;
    struct pool p = start_pool();
    char byte = 'x';
    spy_native_threads_settle(p.list, NULL);
    assert_false(spy_native_threads_are_quiet(p.list));
    assert_true(becomes_quiet(&p));
    struct spy_native_thread *waits = spy_native_threads_at(p.list, 0),
                             *obeys = spy_native_threads_at(p.list, 1);
    waits->has_stack = obeys->has_stack = true;
    look_at_all(&p);
    assert_true(waits->has_stack && obeys->has_stack && !waits->running && !obeys->running);
    assert_int_equal(write(p.to, &byte, 1), 1);
    assert_int_equal(read(p.from, &byte, 1), 1);
    assert_false(spy_native_threads_are_quiet(p.list));
    look_at_all(&p);
    assert_true(waits->has_stack && !obeys->has_stack);
    end_pool(&p);
}

static void a_thread_that_has_ended_is_gone(void **state)
{
    (void)state;
    struct pool p = start_pool();
    char byte = 'q';
    int r = 0;
    spy_native_threads_settle(p.list, NULL);
    assert_true(becomes_quiet(&p));
    assert_int_equal(write(p.to, &byte, 1), 1);
    for (int i = 0; i < TRIES && r == 0; i++) {
        usleep(STEP_US);
        r = spy_native_threads_look(p.list, 1, NULL);
    }
    assert_int_equal(r, SPY_ERR_GONE);
    end_pool(&p);
}

static void the_threads_of_python_are_not_listed(void **state)
{
    (void)state;
    struct child c = start_steady();
    struct spy_target *target;
    struct spy_python *python;
    struct spy_native_threads *list = NULL;
    assert_int_equal(spy_target_open(c.pid, &target, NULL), 0);
    list = spy_native_threads_new(target);
    assert_int_equal(spy_python_attach(target, &python, NULL), 0);
    assert_int_equal(spy_python_refresh(python), 0);
    assert_int_equal(spy_python_n_threads(python), 4);
    assert_int_equal(spy_native_threads_n(list), 4); // noted, since Python's list came later
    spy_native_threads_settle(list, python);
    assert_int_equal(spy_native_threads_n(list), 0);
    spy_native_threads_free(list);
    spy_python_free(python);
    spy_target_free(target);
    end_child(&c);
}

static void no_list_holds_nothing(void **state)
{
    (void)state;
    spy_native_threads_refresh(NULL, NULL, 1);
    assert_int_equal(spy_native_threads_n(NULL), 0);
    assert_true(spy_native_threads_are_quiet(NULL));
    spy_native_threads_free(NULL);
}

RUN(T(threads_are_listed_once_they_are_settled), T(a_thread_that_has_run_has_no_stack),
    T(a_thread_that_has_ended_is_gone), T(the_threads_of_python_are_not_listed),
    T(no_list_holds_nothing))
