#include "collector/http/deadlines.h"
#include "collector/http/http.h"
#include "shared/base/clock.h"
#include "shared/base/every.h"
#include "shared/base/metrics.h"
#include "shared/base/stop.h"
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

int64_t spy_deadlines_n_open, spy_deadlines_n_cut;

struct entry {
    const void *connection;
    int fd;
    enum spy_phase phase;
    bool refused, cut;
    uint64_t since; // when it entered the phase
    uint64_t bytes; // of the body that arrived since `mark`
    uint64_t mark;
    bool *gone;  // set when the client goes; NULL: none
    size_t size; // of the answer
    UT_hash_handle hh;
};

struct spy_deadlines {
    pthread_mutex_t lock;
    struct entry *entries;
    unsigned max;
    struct spy_every *look;
};

// Whether too little of the body arrived since the last mark.
static bool is_dripping(struct entry *e, uint64_t now)
{
    if (now - e->mark < SPY_HTTP_HEADER_SECS * SPY_NS_PER_SEC)
        return false;
    bool little = e->bytes < SPY_HTTP_HEADER_SECS * SPY_HTTP_BODY_RATE;
    e->mark = now;
    e->bytes = 0;
    return little;
}

static bool is_too_slow(struct entry *e, uint64_t now, bool crowded)
{
    enum { CROWDED = 5 };
    uint64_t age = now - e->since, first = SPY_HTTP_HEADER_SECS * SPY_NS_PER_SEC;
    switch (e->phase) {
    case SPY_PHASE_HEADERS:
        return age >= first / (crowded ? CROWDED : 1);
    case SPY_PHASE_BODY:
        return is_dripping(e, now) || age >= SPY_HTTP_BODY_SECS * SPY_NS_PER_SEC;
    case SPY_PHASE_SENDING:
        return age >= first + e->size * SPY_NS_PER_SEC / SPY_HTTP_ANSWER_RATE;
    case SPY_PHASE_WAITING:
        return age >= SPY_HTTP_IDLE_SECS * SPY_NS_PER_SEC / (crowded ? CROWDED : 1);
    default:
        return false;
    }
}

// Whether the client has closed its side, even if bytes it sent before (a TLS close) are unread.
static bool has_left(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void check_connections(void *arg)
{
    struct spy_deadlines *w = arg;
    pthread_mutex_lock(&w->lock);
    uint64_t now = spy_clock_mono_ns();
    bool crowded = HASH_COUNT(w->entries) > w->max / 8 * 7;
    // The descriptor is still open: its entry is removed under the lock before it is closed.
    for (struct entry *e = w->entries; e; e = e->hh.next) {
        if (e->gone && has_left(e->fd))
            spy_stop_set(e->gone);
        if (e->cut || !is_too_slow(e, now, crowded))
            continue;
        e->cut = true;
        spy_count(&spy_deadlines_n_cut, 1);
        shutdown(e->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&w->lock);
}

int spy_deadlines_new(unsigned max, struct spy_deadlines **ret, struct spy_err *err)
{
    struct spy_deadlines *w = calloc(1, sizeof *w);
    if (!w)
        return spy_err_nomem(err);
    w->max = max;
    pthread_mutex_init(&w->lock, NULL);
    int r = spy_every_new(1, check_connections, w, &w->look, err);
    if (r < 0) {
        spy_deadlines_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

void spy_deadlines_free(struct spy_deadlines *w)
{
    if (!w)
        return;
    spy_every_free(w->look);
    struct entry *e, *next;
    HASH_ITER(hh, w->entries, e, next)
    {
        HASH_DEL(w->entries, e);
        free(e);
    }
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void spy_deadlines_add(struct spy_deadlines *w, const void *connection, int fd)
{
    struct entry *e = calloc(1, sizeof *e);
    if (!e) {
        shutdown(fd, SHUT_RDWR); // no connection is served without a deadline
        return;
    }
    e->connection = connection;
    e->fd = fd;
    e->since = spy_clock_mono_ns();
    pthread_mutex_lock(&w->lock);
    HASH_ADD_PTR(w->entries, connection, e);
    bool added = e->hh.tbl;
    pthread_mutex_unlock(&w->lock);
    spy_count(&spy_deadlines_n_open, added);
    if (added)
        return;
    shutdown(fd, SHUT_RDWR);
    free(e);
}

static struct entry *find_watched(struct spy_deadlines *w, const void *connection)
{
    struct entry *e;
    HASH_FIND_PTR(w->entries, &connection, e);
    return e;
}

bool spy_deadlines_remove(struct spy_deadlines *w, const void *connection)
{
    pthread_mutex_lock(&w->lock);
    struct entry *e = find_watched(w, connection);
    bool refused = e && e->refused && !e->cut;
    if (e) {
        HASH_DEL(w->entries, e);
        spy_count(&spy_deadlines_n_open, -1);
    }
    pthread_mutex_unlock(&w->lock);
    free(e);
    return refused;
}

static void enter_phase(struct spy_deadlines *w, const void *connection, enum spy_phase phase,
                        size_t size, bool *gone)
{
    pthread_mutex_lock(&w->lock);
    struct entry *e = find_watched(w, connection);
    if (e) {
        e->phase = phase;
        e->since = e->mark = spy_clock_mono_ns();
        e->bytes = 0;
        e->size = size;
        e->gone = gone;
    }
    pthread_mutex_unlock(&w->lock);
}

void spy_deadlines_enter(struct spy_deadlines *w, const void *connection, enum spy_phase phase,
                         size_t size)
{
    enter_phase(w, connection, phase, size, NULL);
}

void spy_deadlines_work(struct spy_deadlines *w, const void *connection, bool *gone)
{
    enter_phase(w, connection, SPY_PHASE_WORKING, 0, gone);
}

void spy_deadlines_bytes(struct spy_deadlines *w, const void *connection, size_t n)
{
    pthread_mutex_lock(&w->lock);
    struct entry *e = find_watched(w, connection);
    if (e)
        e->bytes += n;
    pthread_mutex_unlock(&w->lock);
}

void spy_deadlines_refused(struct spy_deadlines *w, const void *connection)
{
    pthread_mutex_lock(&w->lock);
    struct entry *e = find_watched(w, connection);
    if (e)
        e->refused = true;
    pthread_mutex_unlock(&w->lock);
}
