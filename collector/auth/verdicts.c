#include "collector/auth/verdicts.h"
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct spy_verdicts {
    pthread_mutex_t lock;
    size_t mask; // of sets
    struct spy_verdict *all;
};

struct spy_verdicts *spy_verdicts_new(size_t n)
{
    struct spy_verdicts *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->mask = n / SPY_VERDICT_WAYS - 1;
    v->all = calloc(n, sizeof *v->all);
    if (!v->all) {
        free(v);
        return NULL;
    }
    pthread_mutex_init(&v->lock, NULL);
    return v;
}

void spy_verdicts_free(struct spy_verdicts *v)
{
    if (!v)
        return;
    pthread_mutex_destroy(&v->lock);
    free(v->all);
    free(v);
}

static struct spy_verdict *set_of(struct spy_verdicts *v, const uint8_t *hash)
{
    uint64_t h;
    memcpy(&h, hash, sizeof h);
    return v->all + (h & v->mask) * SPY_VERDICT_WAYS;
}

static struct spy_verdict *find_verdict(struct spy_verdict *set, const uint8_t *hash)
{
    for (int i = 0; i < SPY_VERDICT_WAYS; i++)
        if (set[i].until_ns && !gnutls_memcmp(set[i].hash, hash, SPY_VERDICT_HASH))
            return &set[i];
    return NULL;
}

bool spy_verdicts_find(struct spy_verdicts *v, uint64_t now_ns, struct spy_verdict *ret)
{
    pthread_mutex_lock(&v->lock);
    struct spy_verdict *e = find_verdict(set_of(v, ret->hash), ret->hash);
    bool holds = e && e->until_ns > now_ns;
    if (holds)
        *ret = *e;
    pthread_mutex_unlock(&v->lock);
    return holds;
}

static struct spy_verdict *choose_place(struct spy_verdict *set, uint64_t now_ns, bool yes)
{
    struct spy_verdict *no = NULL;
    for (int i = 0; i < SPY_VERDICT_WAYS; i++) {
        if (set[i].until_ns <= now_ns)
            return &set[i];
        if (set[i].answer != SPY_AUTH_YES)
            no = &set[i];
    }
    return yes ? no : NULL;
}

void spy_verdicts_keep(struct spy_verdicts *v, uint64_t now_ns, const struct spy_verdict *verdict)
{
    pthread_mutex_lock(&v->lock);
    struct spy_verdict *set = set_of(v, verdict->hash);
    struct spy_verdict *e = find_verdict(set, verdict->hash);
    if (!e)
        e = choose_place(set, now_ns, verdict->answer == SPY_AUTH_YES);
    if (e)
        *e = *verdict;
    pthread_mutex_unlock(&v->lock);
}
