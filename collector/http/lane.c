#include "collector/http/server.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/base/thread.h"
#include <sys/resource.h>
#include <time.h>

// Questions whose client has gone are dropped.
static const struct spy_lane_kind {
    unsigned workers, queue;
    unsigned of_one; // jobs of one client in the queue; 0: no such bound
    int nice;
    bool is_question;
} kinds[SPY_HTTP_LANES] = {
    [SPY_HTTP_PROMPT] = {4, 1024, 0, 0, false},
    [SPY_HTTP_PUSH] = {16, 1024, 0, 0, false},
    [SPY_HTTP_QUESTION] = {SPY_HTTP_QUESTIONS_AT_ONCE, 256, 128, 10, true},
    [SPY_HTTP_LARGE] = {SPY_HTTP_LARGE_AT_ONCE, 64, 32, 19, true},
};

static unsigned n_waiting_of(const struct spy_lane *l, const struct sockaddr *client)
{
    unsigned n = 0;
    for (const struct spy_job *j = l->first; j; j = j->next)
        n += spy_http_same_client(j->client, client);
    return n;
}

static unsigned n_busy_for(const struct spy_lane *l, const struct sockaddr *client)
{
    unsigned n = 0;
    for (unsigned i = 0; i < l->n_workers; i++)
        n += l->workers[i].job && spy_http_same_client(l->workers[i].job->client, client);
    return n;
}

static void unlink_job(struct spy_lane *l, struct spy_job *before, struct spy_job *j)
{
    *(before ? &before->next : &l->first) = j->next;
    l->last = l->last == j ? before : l->last;
    l->n_queued--;
}

// The oldest job; in lanes with a bound for each client, the oldest job of the client that has the
// fewest busy workers.
static struct spy_job *take_next_job(struct spy_lane *l)
{
    struct spy_job *before = NULL, *best_before = NULL, *best = l->first;
    unsigned least = l->kind->of_one ? n_busy_for(l, best->client) : 0;
    for (struct spy_job *j = l->first; j && least; before = j, j = j->next) {
        unsigned n = n_busy_for(l, j->client);
        if (n < least) {
            least = n;
            best = j;
            best_before = before;
        }
    }
    unlink_job(l, best_before, best);
    return best;
}

// The client of a query has left, or the server ends.
static bool is_dropped(const struct spy_http *h, const struct spy_job *j)
{
    return kinds[j->route->lane].is_question && j->state != SPY_JOB_DECIDING &&
           (h->closing || spy_stop_is_set(&j->gone));
}

static void *run_worker(void *arg)
{
    struct spy_worker *w = arg;
    struct spy_lane *l = w->lane;
    struct spy_http *h = l->http;
    if (l->kind->nice) // changes this thread alone (sched(7))
        setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + l->kind->nice);
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (!l->first && !h->stop)
            pthread_cond_wait(&l->wake, &h->lock);
        if (!l->first)
            break; // h->stop, and nothing waits
        struct spy_job *j = w->job = take_next_job(l);
        bool drop = is_dropped(h, j);
        if (h->stop) // the grace period is over
            spy_stop_set(&j->gone);
        pthread_mutex_unlock(&h->lock);
        bool large = spy_job_run(j, drop);
        pthread_mutex_lock(&h->lock);
        w->job = NULL;
        enum spy_lane_put put = large ? spy_lane_put(h, j, SPY_HTTP_LARGE) : SPY_LANE_TAKEN;
        pthread_mutex_unlock(&h->lock);
        if (!large || put != SPY_LANE_TAKEN)
            spy_job_resume(j, put);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

static enum spy_lane_put find_place(const struct spy_lane *l, const struct spy_job *j)
{
    if (l->n_queued >= l->kind->queue)
        return SPY_LANE_FULL;
    return l->kind->of_one && n_waiting_of(l, j->client) >= l->kind->of_one ? SPY_LANE_CROWDED
                                                                            : SPY_LANE_TAKEN;
}

static void append_job(struct spy_lane *l, struct spy_job *j, enum spy_http_lane lane)
{
    j->lane = lane;
    j->next = NULL; // the job may have been in the prompt lane before
    if (l->last)
        l->last->next = j;
    else
        l->first = j;
    l->last = j;
    l->n_queued++;
    pthread_cond_signal(&l->wake);
}

// The workers here may be busy for long, so the prompt ones drop the questions whose clients have
// left.
static void make_places(struct spy_http *h, struct spy_lane *l)
{
    struct spy_lane *prompt = &h->lanes[SPY_HTTP_PROMPT];
    struct spy_job *before = NULL;
    for (struct spy_job *j = l->first, *next; j; j = next) {
        next = j->next;
        if (!is_dropped(h, j) || prompt->n_queued >= prompt->kind->queue) {
            before = j;
            continue;
        }
        unlink_job(l, before, j);
        append_job(prompt, j, SPY_HTTP_PROMPT);
    }
}

enum spy_lane_put spy_lane_put(struct spy_http *h, struct spy_job *j, enum spy_http_lane lane)
{
    struct spy_lane *l = &h->lanes[lane];
    if (h->stop) // the workers end with what they have
        return SPY_LANE_FULL;
    enum spy_lane_put put = find_place(l, j);
    if (put != SPY_LANE_TAKEN && l->kind->is_question) {
        make_places(h, l);
        put = find_place(l, j);
    }
    if (put == SPY_LANE_TAKEN)
        append_job(l, j, lane);
    return put;
}

int spy_lanes_start(struct spy_http *h, struct spy_err *err)
{
    for (int i = 0; i < SPY_HTTP_LANES; i++) {
        struct spy_lane *l = &h->lanes[i];
        l->http = h;
        l->kind = &kinds[i];
        pthread_cond_init(&l->wake, NULL);
        unsigned workers = i == SPY_HTTP_LARGE && h->options.large_at_once
                               ? h->options.large_at_once
                               : l->kind->workers;
        for (; l->n_workers < workers; l->n_workers++) {
            struct spy_worker *w = &l->workers[l->n_workers];
            w->lane = l;
            if (spy_thread_start(&w->thread, run_worker, w) != 0)
                return spy_err_set(err, SPY_ERR_NOMEM, 0, "cannot start a thread");
        }
    }
    return 0;
}

static void wait_until_idle(struct spy_http *h, unsigned secs)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)secs;
    while (h->n_jobs && pthread_cond_clockwait(&h->idle, &h->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
}

// Waiting questions are refused at once, running questions have some seconds, and pushes that have
// arrived are stored.
bool spy_lanes_are_closing(struct spy_http *h)
{
    pthread_mutex_lock(&h->lock);
    bool closing = h->closing;
    pthread_mutex_unlock(&h->lock);
    return closing;
}

void spy_lanes_finish(struct spy_http *h)
{
    pthread_mutex_lock(&h->lock);
    h->closing = true;
    wait_until_idle(h, SPY_HTTP_GRACE_STOP_SECS);
    for (int i = 0; i < SPY_HTTP_LANES; i++)
        for (unsigned k = 0; k < h->lanes[i].n_workers; k++)
            if (h->lanes[i].workers[k].job)
                spy_stop_set(&h->lanes[i].workers[k].job->gone);
    wait_until_idle(h, SPY_HTTP_GRACE_SECS - SPY_HTTP_GRACE_STOP_SECS);
    h->stop = true;
    for (int i = 0; i < SPY_HTTP_LANES; i++)
        if (h->lanes[i].kind)
            pthread_cond_broadcast(&h->lanes[i].wake);
    pthread_mutex_unlock(&h->lock);
    for (int i = 0; i < SPY_HTTP_LANES; i++) {
        struct spy_lane *l = &h->lanes[i];
        for (unsigned k = 0; k < l->n_workers; k++) // finishes what is queued
            pthread_join(l->workers[k].thread, NULL);
        if (l->kind)
            pthread_cond_destroy(&l->wake);
    }
}
