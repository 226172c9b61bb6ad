#include "shared/base/every.h"
#include "shared/base/thread.h"
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

struct spy_every {
    unsigned secs;
    void (*what)(void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop, now;
    pthread_t thread;
};

static void *run_every(void *arg)
{
    struct spy_every *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->stop) {
        struct timespec until;
        e->now = false;
        pthread_mutex_unlock(&e->lock);
        e->what(e->arg);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t)e->secs;
        pthread_mutex_lock(&e->lock);
        while (!e->stop && !e->now &&
               pthread_cond_clockwait(&e->wake, &e->lock, CLOCK_MONOTONIC, &until) == 0)
            ;
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

int spy_every_new(unsigned secs, void (*what)(void *arg), void *arg, struct spy_every **ret,
                  struct spy_err *err)
{
    struct spy_every *e = calloc(1, sizeof *e);
    if (!e)
        return spy_err_nomem(err);
    e->secs = secs;
    e->what = what;
    e->arg = arg;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->wake, NULL);
    if (spy_thread_start(&e->thread, run_every, e) != 0) {
        pthread_cond_destroy(&e->wake);
        pthread_mutex_destroy(&e->lock);
        free(e);
        return spy_err_set(err, SPY_ERR_NOMEM, 0,
                           "cannot start a thread; raise ulimit -u, or pids.max of the cgroup");
    }
    *ret = e;
    return 0;
}

void spy_every_now(struct spy_every *e)
{
    pthread_mutex_lock(&e->lock);
    e->now = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

void spy_every_free(struct spy_every *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    pthread_cond_destroy(&e->wake);
    pthread_mutex_destroy(&e->lock);
    free(e);
}
