#include "collector/ingest/agents.h"
#include "shared/base/clock.h"
#include "shared/base/utf8.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum { NAME_MAX_LEN = 253 };

struct agent {
    char name[NAME_MAX_LEN + 1];
    uint64_t seen_ns;
    int64_t ahead_ns; // its clock
    bool has_clock;
    uint64_t spent; // bytes of its allowance; they come back with time
    UT_hash_handle hh;
};

struct spy_agents {
    pthread_mutex_t lock;
    struct agent *table;
    uint32_t max;
    uint64_t silent_ns, swept_ns, bytes_a_minute;
};

struct spy_agents *spy_agents_new(uint32_t max, uint64_t silent_ns, uint64_t bytes_a_minute)
{
    struct spy_agents *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    pthread_mutex_init(&a->lock, NULL);
    a->max = max;
    a->silent_ns = silent_ns;
    a->bytes_a_minute = bytes_a_minute;
    return a;
}

// Forgets agents that were silent for `age` or longer.
static void forget_silent_agents(struct spy_agents *a, uint64_t now_ns, uint64_t age)
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
    forget_silent_agents(a, 0, 0);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static struct agent *add_agent(struct spy_agents *a, const char *name, uint64_t now_ns)
{
    struct agent *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    memcpy(e->name, name, strlen(name));
    e->seen_ns = now_ns;
    HASH_ADD_STR(a->table, name, e);
    if (e->hh.tbl)
        return e;
    free(e);
    return NULL;
}

static bool may_send(const struct spy_agents *a, struct agent *e, size_t bytes, uint64_t now_ns)
{
    uint64_t passed = now_ns > e->seen_ns ? now_ns - e->seen_ns : 0;
    double back = (double)a->bytes_a_minute * ((double)passed / (60.0 * SPY_NS_PER_SEC));
    e->spent = back < (double)e->spent ? e->spent - (uint64_t)back : 0;
    if (a->bytes_a_minute && e->spent >= a->bytes_a_minute)
        return false;
    e->spent += bytes;
    return true;
}

enum spy_agents_answer spy_agents_see(struct spy_agents *a, const char *full_name, size_t bytes,
                                      uint64_t now_ns)
{
    char name[NAME_MAX_LEN + 1] = "";
    struct agent *e;
    enum spy_agents_answer answer = SPY_AGENTS_TOO_MANY;
    memcpy(name, full_name, strnlen(full_name, NAME_MAX_LEN));
    pthread_mutex_lock(&a->lock);
    HASH_FIND_STR(a->table, name, e);
    if (!e && HASH_COUNT(a->table) >= a->max && now_ns - a->swept_ns > a->silent_ns / 60)
        forget_silent_agents(a, now_ns, a->silent_ns); // not at every refusal: it visits all agents
    if (!e && HASH_COUNT(a->table) < a->max)
        e = add_agent(a, name, now_ns);
    if (e) {
        answer = may_send(a, e, bytes, now_ns) ? SPY_AGENTS_OK : SPY_AGENTS_TOO_FAST;
        e->seen_ns = now_ns;
    }
    pthread_mutex_unlock(&a->lock);
    return answer;
}

void spy_agents_note_clock(struct spy_agents *a, const char *full_name, int64_t ahead_ns)
{
    char name[NAME_MAX_LEN + 1] = "";
    struct agent *e;
    memcpy(name, full_name, strnlen(full_name, NAME_MAX_LEN));
    pthread_mutex_lock(&a->lock);
    HASH_FIND_STR(a->table, name, e);
    if (e) {
        e->ahead_ns = ahead_ns;
        e->has_clock = true;
    }
    pthread_mutex_unlock(&a->lock);
}

// The text format of Prometheus escapes three characters in a label.
static void put_label(struct spy_buf *out, const char *text)
{
    size_t n = 0, left = strlen(text);
    for (; left && (n = spy_utf8_len(text, left)); text += n, left -= n) // a long name is cut
        if (*text == '\n')
            spy_buf_puts(out, "\\n");
        else if (*text == '"' || *text == '\\')
            spy_buf_printf(out, "\\%c", *text);
        else
            spy_buf_append(out, text, n);
}

int spy_agents_print_clocks(struct spy_agents *a, uint32_t max, struct spy_buf *out)
{
    const int64_t second = SPY_NS_PER_SEC;
    struct agent *e, *next;
    bool any = false;
    pthread_mutex_lock(&a->lock);
    for (e = HASH_COUNT(a->table) <= max ? a->table : NULL; e; e = next) {
        next = e->hh.next;
        if (!e->has_clock)
            continue;
        if (!any)
            spy_buf_puts(out,
                         "# HELP podspy_collector_agent_clock_ahead_seconds How far an agent's "
                         "clock is ahead of the collector's, when it pushed last.\n"
                         "# TYPE podspy_collector_agent_clock_ahead_seconds gauge\n");
        any = true;
        spy_buf_puts(out, "podspy_collector_agent_clock_ahead_seconds{agent=\"");
        put_label(out, e->name);
        spy_buf_printf(
            out, "\"} %lld\n",
            (long long)((e->ahead_ns + (e->ahead_ns < 0 ? -second / 2 : second / 2)) / second));
    }
    pthread_mutex_unlock(&a->lock);
    return out->failed;
}

uint32_t spy_agents_count(struct spy_agents *a)
{
    pthread_mutex_lock(&a->lock);
    uint32_t n = HASH_COUNT(a->table);
    pthread_mutex_unlock(&a->lock);
    return n;
}
