#include "agent/daemon/problems.h"
#include "shared/base/clock.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <string.h>

#define AGAIN_NS (300 * SPY_NS_PER_SEC)

static uint64_t hash_problem(const struct spy_problem *p)
{
    const struct spy_place *at = &p->place;
    const char *all[] = {at->namespace_name, at->pod, at->pod_uid, at->container_id, p->text};
    uint64_t hash = (uint64_t)p->pid;
    for (size_t i = 0; i < SPY_COUNT(all); i++)
        hash = spy_hash_mix(hash, spy_hash_bytes(all[i], strlen(all[i])));
    return hash;
}

static void label_problem(struct spy_series_labels *l, const struct spy_problem *p)
{
    if (p->pid) {
        snprintf(l->pid, sizeof l->pid, "%d", (int)p->pid);
        spy_series_label(l, SPY_LABEL_PID, l->pid);
    }
    spy_series_label_place(l, &p->place);
    spy_series_label(l, SPY_LABEL_PROBLEM, p->text);
}

static int add_labelled_series(struct spy_profile *p, const struct spy_series_labels *l,
                               uint32_t *ret)
{
    struct spy_label labels[SPY_COUNT(l->pairs)];
    int r = 0;
    for (size_t i = 0; i < l->n && r == 0; i++) {
        r = spy_profile_cstr(p, l->pairs[i][0], &labels[i].key);
        if (r == 0)
            r = spy_profile_cstr(p, l->pairs[i][1], &labels[i].value);
    }
    return r == 0 ? spy_profile_series(p, labels, l->n, ret) : r;
}

static void add_problem(void *arg, const struct spy_problem *problem)
{
    struct spy_problems *p = arg;
    uint64_t hash = hash_problem(problem), now = spy_clock_mono_ns(), end = spy_clock_real_ns();
    uint64_t *slot_added_ns = &p->slots[hash % SPY_PROBLEM_SLOTS].added_ns;
    uint64_t *slot_hash = &p->slots[hash % SPY_PROBLEM_SLOTS].hash;
    if (*slot_hash == hash && *slot_added_ns && now - *slot_added_ns < AGAIN_NS)
        return;
    struct spy_series_labels l = {.n = p->node->n};
    memcpy(l.pairs, p->node->pairs, sizeof l.pairs);
    label_problem(&l, problem);
    uint32_t series;
    if (add_labelled_series(p->window, &l, &series) < 0)
        return;
    struct spy_series *s = spy_profile_series_at(p->window, series);
    s->start_ns = p->start_ns < end ? p->start_ns : end;
    s->duration_ns = end - s->start_ns;
    s->quality.failed = 1; // a series whose counters are all 0 is not sent
    *slot_hash = hash;
    *slot_added_ns = now;
}

void spy_problems_add_node(struct spy_problems *p, const char *text)
{
    if (p->n_node_texts < SPY_PROBLEMS_OF_NODE)
        snprintf(p->node_texts[p->n_node_texts++], sizeof p->node_texts[0], "%s", text);
}

static void add_node_problems(struct spy_problems *p)
{
    const struct spy_place nowhere = {"", "", "", "", "", "", ""};
    for (size_t i = 0; i < p->n_node_texts; i++)
        add_problem(p, &(struct spy_problem){.place = nowhere, .text = p->node_texts[i]});
}

void spy_problems_add_due(struct spy_problems *p, const struct spy_discover *d,
                          struct spy_profile *window, uint64_t start_ns,
                          const struct spy_series_labels *node)
{
    p->window = window;
    p->start_ns = start_ns;
    p->node = node;
    add_node_problems(p);
    spy_discover_explain(d, add_problem, p);
}
