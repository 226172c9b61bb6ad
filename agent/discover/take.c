#include "agent/discover/take.h"
#include "agent/discover/admit.h"
#include "agent/discover/inside.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include <string.h>

#define LOG_NS  (60 * SPY_NS_PER_SEC)
#define WAIT_NS (1 * SPY_NS_PER_SEC) // between two checks of processes that wait

enum { ROUNDS = 64 };

// --- Docker ---

static void log_labels(const struct spy_containers *old, const struct spy_containers *list)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct spy_container *c = &list->all[i], *o = spy_containers_find(old, c->id);
        if (o && memcmp(&o->labels, &c->labels, sizeof c->labels) == 0)
            continue;
        for (unsigned k = 0; k < c->labels.n_problems; k++)
            spy_log(SPY_LOG_WARN, "wrong label of a container", SPY_S("pod", c->name),
                    SPY_S("problem", c->labels.problems[k]));
    }
}

bool spy_take_docker_fails(const struct spy_discover *d)
{
    return d->docker && d->answer.asked_ns && !d->answer.reached &&
           !(d->answer.absent && d->config->discovery.docker == SPY_SWITCH_AUTO);
}

// Decides again about each process whose container opted in and is new in Docker's list.
static void judge_containers(struct spy_discover *d, const struct spy_containers *old)
{
    for (size_t i = 0; i < d->list.n; i++) {
        const struct spy_container *c = &d->list.all[i];
        if (c->labels.consent != SPY_CONSENT_YES || spy_containers_find(old, c->id))
            continue;
        uint64_t hash = spy_discover_hash(c->id);
        for (size_t k = 0; k < d->table.n; k++)
            if (d->table.all[k]->container_hash == hash && !d->table.all[k]->in)
                spy_admit_again(d, d->table.all[k]);
    }
}

void spy_take_docker(struct spy_discover *d)
{
    struct spy_docker_answer a;
    if (!d->docker || !spy_docker_take(d->docker, &a))
        return;
    d->answer = a;
    if (a.reached) {
        struct spy_containers old = d->list;
        d->list = a.list;
        log_labels(&old, &d->list);
        judge_containers(d, &old);
        spy_containers_free(&old);
    } else if (spy_take_docker_fails(d) && spy_log_due(&d->docker_logged, LOG_NS)) {
        spy_log(SPY_LOG_WARN, "cannot read the labels of containers", SPY_S("error", a.err.msg));
    }
    for (size_t i = 0; i < d->table.n; i++)
        if (d->table.all[i]->wait)
            spy_admit_again(d, d->table.all[i]);
}

// --- Kubernetes ---

static bool has_same_problems(const struct spy_pod *a, const struct spy_pod *b)
{
    return a && a->labels.n_problems == b->labels.n_problems &&
           memcmp(a->labels.problems, b->labels.problems, sizeof a->labels.problems) == 0;
}

static void log_pod(const struct spy_pod *old, const struct spy_pod *pod)
{
    if (has_same_problems(old, pod))
        return;
    for (unsigned k = 0; k < pod->labels.n_problems; k++)
        spy_log(SPY_LOG_WARN, "wrong annotation of a pod", SPY_S("namespace", pod->namespace_name),
                SPY_S("pod", pod->name), SPY_S("problem", pod->labels.problems[k]));
}

static bool is_of_pod(const struct spy_entry *e, const struct spy_pod *pod, uint64_t uid,
                      const uint64_t *containers)
{
    if (e->in && e->in->consent == uid)
        return true;
    for (size_t i = 0; i < pod->n && e->container_hash; i++)
        if (containers[i] == e->container_hash)
            return true;
    return false;
}

// Opting out spreads from parents to the children that inherited from them, one generation a round.
static void judge_pod(struct spy_discover *d, const struct spy_pod *pod)
{
    uint64_t uid = spy_discover_hash(pod->uid), hashes[SPY_POD_CONTAINERS_MAX];
    for (size_t i = 0; i < pod->n; i++)
        hashes[i] = spy_discover_hash(pod->containers[i].id);
    size_t before = SIZE_MAX;
    for (int round = 0; round < ROUNDS && d->table.n_in != before; round++) {
        before = d->table.n_in;
        for (size_t i = 0; i < d->table.n; i++)
            if (is_of_pod(d->table.all[i], pod, uid, hashes))
                spy_admit_again(d, d->table.all[i]);
    }
}

static void judge_waiting(struct spy_discover *d)
{
    d->waiting_ns = d->now;
    for (size_t i = 0; i < d->table.n; i++)
        if (d->table.all[i]->wait)
            spy_admit_again(d, d->table.all[i]);
}

// A pod that is no longer in the list has ended; its processes stay in until they exit.
static void judge_changed(struct spy_discover *d, const struct spy_pods *old)
{
    for (size_t i = 0; i < d->view.pods.n; i++) {
        const struct spy_pod *pod = d->view.pods.all[i], *o = spy_pods_find(old, pod->uid);
        if (o == pod)
            continue;
        log_pod(o, pod);
        judge_pod(d, pod);
    }
}

void spy_take_kube(struct spy_discover *d)
{
    struct spy_kube_view view;
    if (d->kube && spy_kube_take(d->kube, &view)) {
        struct spy_kube_view old = d->view;
        d->view = view;
        if (old.failing && !view.failing)
            spy_log(SPY_LOG_INFO, "the Kubernetes API answers again");
        judge_changed(d, &old.pods);
        judge_waiting(d);
        spy_pods_free(&old.pods);
    } else if (d->kube && d->now - d->waiting_ns >= WAIT_NS) {
        judge_waiting(d);
    }
    if (d->view.failing && spy_log_due(&d->kube_logged, LOG_NS))
        spy_log(SPY_LOG_WARN, "cannot watch pods; using the last known list",
                SPY_S("error", d->view.err.msg));
}
