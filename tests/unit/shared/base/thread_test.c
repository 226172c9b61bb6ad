// Threads leave signals to the main thread.
#include "shared/base/thread.h"
#include "tests/unit/test.h"
#include <signal.h>

static void *read_mask(void *arg)
{
    pthread_sigmask(SIG_SETMASK, NULL, arg);
    return NULL;
}

static void a_thread_takes_no_signals_and_its_starter_still_does(void **state)
{
    (void)state;
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCHLD, SIGUSR1};
    sigset_t there, here;
    pthread_t thread;
    assert_int_equal(spy_thread_start(&thread, read_mask, &there), 0);
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &here);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_int_equal(sigismember(&there, numbers[i]), 1);
        assert_int_equal(sigismember(&here, numbers[i]), 0);
    }
}

RUN(T(a_thread_takes_no_signals_and_its_starter_still_does))
