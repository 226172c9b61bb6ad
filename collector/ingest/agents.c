#include "collector/ingest/agents.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum { NAME_MAX_LEN = 253 };

struct agent {
    char name[NAME_MAX_LEN + 1];
    uint64_t seen_ns;
    UT_hash_handle hh;
};

struct spy_agents {
    pthread_mutex_t lock;
    struct agent *table;
    uint32_t max;
    uint64_t silent_ns, swept_ns;
};

struct spy_agents *spy_agents_new(uint32_t max, uint64_t silent_ns)
{
    struct spy_agents *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    pthread_mutex_init(&a->lock, NULL);
    a->max = max;
    a->silent_ns = silent_ns;
    return a;
}

// Forgets those that were silent since before now_ns - age.
static void sweep(struct spy_agents *a, uint64_t now_ns, uint64_t age)
{
    struct agent *e, *next;
    HASH_ITER(hh, a->table, e, next)
    if (now_ns - e->seen_ns >= age) {
        HASH_DEL(a->table, e);
        free(e);
    }
    a->swept_ns = now_ns;
}

void spy_agents_free(struct spy_agents *a)
{
    if (!a)
        return;
    sweep(a, 0, 0);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static bool add(struct spy_agents *a, const char *name, uint64_t now_ns)
{
    struct agent *e = calloc(1, sizeof *e);
    if (!e)
        return false;
    memcpy(e->name, name, strlen(name));
    e->seen_ns = now_ns;
    HASH_ADD_STR(a->table, name, e);
    if (e->hh.tbl)
        return true;
    free(e);
    return false;
}

bool spy_agents_see(struct spy_agents *a, const char *full_name, uint64_t now_ns)
{
    char name[NAME_MAX_LEN + 1] = "";
    struct agent *e;
    memcpy(name, full_name, strnlen(full_name, NAME_MAX_LEN));
    pthread_mutex_lock(&a->lock);
    HASH_FIND_STR(a->table, name, e);
    if (e)
        e->seen_ns = now_ns;
    else if (HASH_COUNT(a->table) >= a->max && now_ns - a->swept_ns > a->silent_ns / 60)
        sweep(a, now_ns, a->silent_ns); // not at every refusal: it goes through all
    bool ok = e || (HASH_COUNT(a->table) < a->max && add(a, name, now_ns));
    pthread_mutex_unlock(&a->lock);
    return ok;
}

uint32_t spy_agents_count(struct spy_agents *a)
{
    pthread_mutex_lock(&a->lock);
    uint32_t n = HASH_COUNT(a->table);
    pthread_mutex_unlock(&a->lock);
    return n;
}
