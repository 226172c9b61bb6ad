#include "agent/discover/docker.h"
#include "shared/base/clock.h"
#include "shared/base/thread.h"
#include "shared/http/client.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EVERY_NS   (10 * SPY_NS_PER_SEC)
#define RETRY_NS   (2 * SPY_NS_PER_SEC)
#define AT_MOST_NS (250 * SPY_NS_PER_MS)

enum { ANSWER_MAX = 4 << 20, REQUEST_MS = 5000, CONNECT_MS = 1000 };

// The states in which a container can have processes: it is "created" while its first one starts.
#define LIST_URL                                                                                   \
    "http://docker/containers/json?all=1&filters=%7B%22status%22%3A%5B%22created%22%2C"            \
    "%22running%22%2C%22paused%22%2C%22restarting%22%5D%7D"

struct spy_docker {
    char *socket_path, *prefix;
    struct spy_client *client;
    pthread_t thread;
    bool started;
    bool stop; // atomic
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool asked, ready;               // under lock
    struct spy_docker_answer answer; // under lock, when ready
};

static int request_list(struct spy_docker *d, struct spy_client_answer *ret, struct spy_err *err)
{
    struct spy_client_request request = {
        .url = LIST_URL, .timeout_ms = REQUEST_MS, .answer_max = ANSWER_MAX};
    int r = spy_client_send(d->client, &request, ret, err);
    if (r < 0)
        return r;
    if (ret->body.failed)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "Docker at %.100s answers with more than %d MiB",
                           d->socket_path, ANSWER_MAX >> 20);
    if (ret->outcome == SPY_CLIENT_UNREACHABLE)
        return spy_err_set(err, SPY_ERR_IO, 0, "Docker at %.80s: %.120s", d->socket_path,
                           ret->reason);
    if (ret->status != 200)
        return spy_err_set(err, SPY_ERR_IO, 0, "Docker at %.100s answers with status %d",
                           d->socket_path, ret->status);
    return 0;
}

static void fetch_list(struct spy_docker *d, struct spy_docker_answer *a)
{
    _cleanup_(spy_client_answer_free) struct spy_client_answer answer = {0};
    const struct spy_buf *body = &answer.body;
    *a = (struct spy_docker_answer){.asked_ns = spy_clock_mono_ns()};
    if (access(d->socket_path, F_OK) < 0) {
        a->absent = true;
        spy_err_set(&a->err, SPY_ERR_GONE, 0, "there is no Docker socket %.150s", d->socket_path);
        return;
    }
    int r = request_list(d, &answer, &a->err);
    if (r == 0 &&
        (r = spy_containers_parse(spy_buf_str(body), body->len, d->prefix, &a->list, &a->err)) < 0)
        spy_err_context(&a->err, r, "Docker at %.80s", d->socket_path);
    a->reached = r == 0;
}

static void publish_answer(struct spy_docker *d, const struct spy_docker_answer *a)
{
    pthread_mutex_lock(&d->lock);
    if (d->ready)
        spy_containers_free(&d->answer.list);
    d->answer = *a;
    d->ready = true;
    pthread_mutex_unlock(&d->lock);
}

static void wait_for_wake(struct spy_docker *d, uint64_t deadline_ns)
{
    struct timespec t = {.tv_sec = (time_t)(deadline_ns / SPY_NS_PER_SEC),
                         .tv_nsec = (long)(deadline_ns % SPY_NS_PER_SEC)};
    pthread_cond_timedwait(&d->wake, &d->lock, &t);
}

// Waits until the next request is due, or the thread is to end.
static void wait_for_turn(struct spy_docker *d, uint64_t last_ns, bool reached)
{
    uint64_t pause = reached ? EVERY_NS : RETRY_NS;
    pthread_mutex_lock(&d->lock);
    while (!__atomic_load_n(&d->stop, __ATOMIC_RELAXED)) {
        uint64_t due = last_ns + (d->asked ? AT_MOST_NS : pause);
        if (spy_clock_mono_ns() >= due)
            break;
        wait_for_wake(d, due);
    }
    d->asked = false;
    pthread_mutex_unlock(&d->lock);
}

static void *run_docker(void *arg)
{
    struct spy_docker *d = arg;
    while (!__atomic_load_n(&d->stop, __ATOMIC_RELAXED)) {
        struct spy_docker_answer a;
        fetch_list(d, &a);
        publish_answer(d, &a);
        wait_for_turn(d, a.asked_ns, a.reached);
    }
    return NULL;
}

static int start_docker(struct spy_docker *d, struct spy_err *err)
{
    struct spy_client_options o = {
        .unix_socket = d->socket_path, .plain = true, .connect_ms = CONNECT_MS};
    int r = spy_client_new(&o, &d->client, err);
    int sys = r == 0 ? spy_thread_start(&d->thread, run_docker, d) : 0;
    d->started = r == 0 && sys == 0;
    return sys ? spy_err_set(err, spy_code_of_errno(sys), sys, "cannot start the Docker thread")
               : r;
}

int spy_docker_new(const char *socket_path, const char *prefix, struct spy_docker **ret,
                   struct spy_err *err)
{
    struct spy_docker *d = calloc(1, sizeof *d);
    if (!d)
        return spy_err_nomem(err);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&d->lock, NULL);
    d->socket_path = strdup(socket_path);
    d->prefix = strdup(prefix);
    int r = d->socket_path && d->prefix ? start_docker(d, err) : spy_err_nomem(err);
    if (r < 0) {
        spy_docker_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

void spy_docker_free(struct spy_docker *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    __atomic_store_n(&d->stop, true, __ATOMIC_RELAXED);
    if (d->client)
        spy_client_abort(d->client);
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    if (d->started)
        pthread_join(d->thread, NULL);
    spy_client_free(d->client);
    if (d->ready)
        spy_containers_free(&d->answer.list);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->lock);
    free(d->socket_path);
    free(d->prefix);
    free(d);
}

bool spy_docker_take(struct spy_docker *d, struct spy_docker_answer *ret)
{
    pthread_mutex_lock(&d->lock);
    bool ready = d->ready;
    if (ready)
        *ret = d->answer;
    d->ready = false;
    pthread_mutex_unlock(&d->lock);
    return ready;
}

void spy_docker_ask(struct spy_docker *d)
{
    pthread_mutex_lock(&d->lock);
    d->asked = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
}
