#include "collector/cli/collector.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { INTERVAL_SECS = 60 };

struct spy_retention {
    struct spy_store *store;
    uint64_t raw_ns, max_bytes;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    pthread_t thread;
};

static void expire(struct spy_retention *r)
{
    struct spy_err err = {0};
    if (r->store->ops->expire(r->store, spy_clock_real_ns(), r->raw_ns, r->max_bytes, &err) < 0)
        spy_log(SPY_LOG_ERROR, "cannot drop old data", SPY_S("why", err.msg));
}

static void *run(void *arg)
{
    struct spy_retention *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        pthread_mutex_unlock(&r->lock);
        expire(r);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += INTERVAL_SECS;
        pthread_mutex_lock(&r->lock);
        while (!r->stop && pthread_cond_timedwait(&r->wake, &r->lock, &until) == 0)
            ;
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int spy_retention_new(struct spy_store *store, uint64_t raw_ns, uint64_t max_bytes,
                      struct spy_retention **ret, struct spy_err *err)
{
    struct spy_retention *r = calloc(1, sizeof *r);
    if (!r)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    r->store = store;
    r->raw_ns = raw_ns;
    r->max_bytes = max_bytes;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    if (pthread_create(&r->thread, NULL, run, r) != 0) {
        pthread_cond_destroy(&r->wake);
        pthread_mutex_destroy(&r->lock);
        free(r);
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "cannot start a thread");
    }
    *ret = r;
    return 0;
}

void spy_retention_free(struct spy_retention *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
