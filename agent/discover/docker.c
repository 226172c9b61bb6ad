#include "agent/discover/docker.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EVERY_NS   (10 * SPY_NS_PER_SEC)
#define RETRY_NS   (2 * SPY_NS_PER_SEC)
#define AT_MOST_NS (250 * SPY_NS_PER_MS)

enum { ANSWER_MAX = 4 << 20, REQUEST_SECONDS = 5, CONNECT_MS = 1000 };

// All that can have processes: a container is "created" while its first process starts.
#define LIST_URL                                                                                   \
    "http://docker/containers/json?all=1&filters=%7B%22status%22%3A%5B%22created%22%2C"            \
    "%22running%22%2C%22paused%22%2C%22restarting%22%5D%7D"

struct spy_docker {
    char *socket_path, *prefix;
    pthread_t thread;
    bool started;
    bool stop; // atomic
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool asked, ready;               // under lock
    struct spy_docker_answer answer; // under lock, when ready
};

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    return spy_buf_append(arg, data, size * n) < 0 ? 0 : size * n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t e)
{
    (void)a, (void)b, (void)c, (void)e;
    return __atomic_load_n(&((struct spy_docker *)arg)->stop, __ATOMIC_RELAXED);
}

static void cleanup_curl(CURL **c)
{
    curl_easy_cleanup(*c);
}

static int request(struct spy_docker *d, struct spy_buf *body, struct spy_err *err)
{
    char why[CURL_ERROR_SIZE] = "";
    long status = 0;
    _cleanup_(cleanup_curl) CURL *c = curl_easy_init();
    if (!c)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "no memory for a request to Docker");
    curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, d->socket_path);
    curl_easy_setopt(c, CURLOPT_URL, LIST_URL);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)REQUEST_SECONDS);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, body);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, d);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why);
    CURLcode code = curl_easy_perform(c);
    if (body->failed)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "Docker at %.100s answers with more than %d MiB",
                           d->socket_path, ANSWER_MAX >> 20);
    if (code != CURLE_OK)
        return spy_err_set(err, SPY_ERR_IO, 0, "Docker at %.80s: %.120s", d->socket_path,
                           *why ? why : curl_easy_strerror(code));
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return spy_err_set(err, SPY_ERR_IO, 0, "Docker at %.100s answers with status %ld",
                           d->socket_path, status);
    return 0;
}

static void fetch(struct spy_docker *d, struct spy_docker_answer *a)
{
    _cleanup_buf_ struct spy_buf body = SPY_BUF_INIT(ANSWER_MAX);
    *a = (struct spy_docker_answer){.asked_ns = spy_clock_mono_ns()};
    if (access(d->socket_path, F_OK) < 0) {
        a->absent = true;
        spy_err_set(&a->err, SPY_ERR_GONE, 0, "there is no Docker socket %.150s", d->socket_path);
        return;
    }
    int r = request(d, &body, &a->err);
    if (r == 0 &&
        (r = spy_containers_parse(spy_buf_str(&body), body.len, d->prefix, &a->list, &a->err)) < 0)
        spy_err_context(&a->err, r, "Docker at %.80s", d->socket_path);
    a->reached = r == 0;
}

static void publish(struct spy_docker *d, const struct spy_docker_answer *a)
{
    pthread_mutex_lock(&d->lock);
    if (d->ready)
        spy_containers_free(&d->answer.list);
    d->answer = *a;
    d->ready = true;
    pthread_mutex_unlock(&d->lock);
}

static void wait_until(struct spy_docker *d, uint64_t deadline_ns)
{
    struct timespec t = {.tv_sec = (time_t)(deadline_ns / SPY_NS_PER_SEC),
                         .tv_nsec = (long)(deadline_ns % SPY_NS_PER_SEC)};
    pthread_cond_timedwait(&d->wake, &d->lock, &t);
}

// Until it is time for the next request, or for the end.
static void rest(struct spy_docker *d, uint64_t last_ns, bool reached)
{
    uint64_t pause = reached ? EVERY_NS : RETRY_NS;
    pthread_mutex_lock(&d->lock);
    while (!__atomic_load_n(&d->stop, __ATOMIC_RELAXED)) {
        uint64_t due = last_ns + (d->asked ? AT_MOST_NS : pause);
        if (spy_clock_mono_ns() >= due)
            break;
        wait_until(d, due);
    }
    d->asked = false;
    pthread_mutex_unlock(&d->lock);
}

static void *run(void *arg)
{
    struct spy_docker *d = arg;
    while (!__atomic_load_n(&d->stop, __ATOMIC_RELAXED)) {
        struct spy_docker_answer a;
        fetch(d, &a);
        publish(d, &a);
        rest(d, a.asked_ns, a.reached);
    }
    return NULL;
}

// Signals are for the thread that samples.
static int start_thread(struct spy_docker *d)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int sys = pthread_create(&d->thread, NULL, run, d);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return sys;
}

int spy_docker_new(const char *socket_path, const char *prefix, struct spy_docker **ret,
                   struct spy_err *err)
{
    struct spy_docker *d = calloc(1, sizeof *d);
    if (!d)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "no memory");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&d->lock, NULL);
    d->socket_path = strdup(socket_path);
    d->prefix = strdup(prefix);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int sys = d->socket_path && d->prefix ? start_thread(d) : ENOMEM;
    d->started = sys == 0;
    if (sys) {
        spy_docker_free(d);
        return spy_err_set(err, spy_code_of_errno(sys), sys, "cannot start the Docker thread");
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
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    if (d->started)
        pthread_join(d->thread, NULL);
    if (d->ready)
        spy_containers_free(&d->answer.list);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->lock);
    free(d->socket_path);
    free(d->prefix);
    free(d);
    curl_global_cleanup();
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
