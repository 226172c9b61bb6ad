#include "collector/http/watch.h"
#include "collector/http/http.h"
#include "shared/base/clock.h"
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <uthash.h>

// WAITING: between requests on a kept-alive connection libmicrohttpd's idle timeout is the right
// one; a first request must be complete in time.
enum phase { PHASE_HEADERS, PHASE_BODY, PHASE_WAITING };

struct entry {
    const void *connection;
    int fd;
    enum phase phase;
    uint64_t since;
    uint64_t bytes;
    UT_hash_handle hh;
};

struct spy_watch {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct entry *entries;
    bool stop;
    pthread_t thread;
};

static bool too_slow(const struct entry *e, uint64_t now)
{
    uint64_t limit = SPY_HTTP_HEADER_SECS * SPY_NS_PER_SEC;
    if (e->phase == PHASE_WAITING || now - e->since < limit)
        return false;
    if (e->phase == PHASE_HEADERS)
        return true;
    return e->bytes * SPY_NS_PER_SEC / SPY_HTTP_BODY_RATE < now - e->since;
}

static void *look(void *arg)
{
    struct spy_watch *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_sec++;
        pthread_cond_timedwait(&w->wake, &w->lock, &t);
        uint64_t now = spy_clock_mono_ns();
        struct entry *e, *next;
        // The descriptor is still open here: it is removed under the lock before it is closed.
        HASH_ITER(hh, w->entries, e, next)
        if (too_slow(e, now))
            shutdown(e->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int spy_watch_new(struct spy_watch **ret, struct spy_err *err)
{
    struct spy_watch *w = calloc(1, sizeof *w);
    if (!w)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    if (pthread_create(&w->thread, NULL, look, w) != 0) {
        free(w);
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "cannot start a thread");
    }
    *ret = w;
    return 0;
}

void spy_watch_free(struct spy_watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    struct entry *e, *next;
    HASH_ITER(hh, w->entries, e, next)
    {
        HASH_DEL(w->entries, e);
        free(e);
    }
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void spy_watch_add(struct spy_watch *w, const void *connection, int fd)
{
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        return; // without memory it is only unwatched
    e->connection = connection;
    e->fd = fd;
    e->since = spy_clock_mono_ns();
    pthread_mutex_lock(&w->lock);
    HASH_ADD_PTR(w->entries, connection, e);
    pthread_mutex_unlock(&w->lock);
}

void spy_watch_remove(struct spy_watch *w, const void *connection)
{
    struct entry *e;
    pthread_mutex_lock(&w->lock);
    HASH_FIND_PTR(w->entries, &connection, e);
    if (e)
        HASH_DEL(w->entries, e);
    pthread_mutex_unlock(&w->lock);
    free(e);
}

static void enter(struct spy_watch *w, const void *connection, enum phase phase)
{
    struct entry *e;
    pthread_mutex_lock(&w->lock);
    HASH_FIND_PTR(w->entries, &connection, e);
    if (e) {
        e->phase = phase;
        e->since = spy_clock_mono_ns();
        e->bytes = 0;
    }
    pthread_mutex_unlock(&w->lock);
}

void spy_watch_headers_done(struct spy_watch *w, const void *connection)
{
    enter(w, connection, PHASE_BODY);
}

void spy_watch_answered(struct spy_watch *w, const void *connection)
{
    enter(w, connection, PHASE_WAITING);
}

void spy_watch_bytes(struct spy_watch *w, const void *connection, size_t n)
{
    struct entry *e;
    pthread_mutex_lock(&w->lock);
    HASH_FIND_PTR(w->entries, &connection, e);
    if (e)
        e->bytes += n;
    pthread_mutex_unlock(&w->lock);
}
