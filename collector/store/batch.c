#include "collector/store/batch.h"
#include "collector/store/store.h"
#include "shared/base/clock.h"
#include <errno.h>
#include <string.h>

void spy_batch_queue_init(struct spy_batch_queue *q, size_t group_bytes)
{
    *q = (struct spy_batch_queue){.group_bytes = group_bytes};
    q->last = &q->first;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
}

void spy_batch_queue_destroy(struct spy_batch_queue *q)
{
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->changed);
}

// Takes the oldest batches out of the queue. Its lock is held.
static struct spy_batch *take_group(struct spy_batch_queue *q)
{
    struct spy_batch *group = q->first, *end = group;
    size_t bytes = end->bytes;
    for (int i = 1; i < SPY_BATCH_GROUP_MAX && end->next && bytes < q->group_bytes; i++) {
        end = end->next;
        bytes += end->bytes;
    }
    q->first = end->next;
    if (!q->first)
        q->last = &q->first;
    end->next = NULL;
    return group;
}

static void write_until_done(struct spy_batch_queue *q, const struct spy_batch *mine,
                             spy_batch_write_fn write, void *store)
{
    q->writing = true;
    while (!mine->done) {
        struct spy_batch *group = take_group(q), *next;
        pthread_mutex_unlock(&q->lock);
        write(store, group);
        pthread_mutex_lock(&q->lock);
        for (; group; group = next) {
            next = group->next; // its owner frees it once it is done
            group->done = true;
        }
        pthread_cond_broadcast(&q->changed);
    }
    q->writing = false;
    pthread_cond_broadcast(&q->changed); // an appender that came meanwhile takes over
}

int spy_batch_write(struct spy_batch_queue *q, struct spy_batch *b, spy_batch_write_fn write,
                    void *store, struct spy_err *err)
{
    pthread_mutex_lock(&q->lock);
    *q->last = b;
    q->last = &b->next;
    while (!b->done && q->writing)
        pthread_cond_wait(&q->changed, &q->lock);
    if (!b->done)
        write_until_done(q, b, write, store);
    pthread_mutex_unlock(&q->lock);
    if (b->result < 0 && err)
        *err = b->err;
    return b->result;
}

bool spy_batch_is_out_of_space(int r, const struct spy_err *err)
{
    return r == SPY_ERR_LIMIT && err->sys == ENOSPC;
}

// For what it holds: the store takes others, or would.
static bool is_batch_refused(const struct spy_batch *b)
{
    return b->result == SPY_ERR_INVALID ||
           (b->result == SPY_ERR_LIMIT && !spy_batch_is_out_of_space(b->result, &b->err));
}

void spy_batch_note(struct spy_batch_queue *q, const struct spy_batch *group)
{
    int worst = 0;
    bool tells = false;
    for (const struct spy_batch *b = group; b; b = b->next) {
        if (is_batch_refused(b))
            continue;
        tells = true;
        if (b->result < 0)
            worst = b->result;
    }
    if (worst < 0)
        __atomic_store_n(&q->last_failed, spy_clock_mono_ns(), __ATOMIC_RELAXED);
    if (tells)
        __atomic_store_n(&q->last_result, worst, __ATOMIC_RELAXED);
}

int spy_batch_last_result(const struct spy_batch_queue *q, uint64_t within_ns, bool *ret_is_recent)
{
    int last = __atomic_load_n(&q->last_result, __ATOMIC_RELAXED);
    uint64_t failed = __atomic_load_n(&q->last_failed, __ATOMIC_RELAXED);
    *ret_is_recent = last < 0 && spy_clock_mono_ns() - failed < within_ns;
    return last;
}

int spy_batch_check_profile(const struct spy_profile *p, struct spy_err *err)
{
    static const uint8_t none[sizeof spy_profile_series_get(p, 0)->profile_id];
    if (spy_profile_n_series(p) != 1)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "a profile to store has %u series, not one",
                           spy_profile_n_series(p));
    if (!memcmp(spy_profile_series_get(p, 0)->profile_id, none, sizeof none))
        return spy_err_set(err, SPY_ERR_INVALID, 0, "a profile to store has no profile_id");
    if (spy_profile_n_samples(p) > SPY_STORE_ROWS_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "a profile to store has %u samples, over %d",
                           spy_profile_n_samples(p), SPY_STORE_ROWS_MAX);
    return 0;
}
