#include "agent/discover/admit.h"
#include "agent/discover/inside.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FD_MAX = 512 }; // descriptors below this may be kept: the sampler needs some too

// --- members ---

static void fill_process(struct spy_member *m)
{
    m->p.command = m->command;
    m->p.cmdline = m->cmdline;
    m->p.place.container_id = m->container_id;
    m->p.place.container = m->container_name;
    m->p.place.image = m->image_name;
    m->p.place.pod = m->pod;
    m->p.place.pod_uid = m->pod_uid;
    m->p.place.namespace_name = m->namespace_name;
    m->p.place.service = m->service;
    m->p.reason = m->reason;
}

static void opt_in(struct spy_discover *d, struct spy_entry *e)
{
    d->members_full = d->table.n_in >= SPY_MEMBERS_MAX;
    struct spy_member *m = d->members_full ? NULL : malloc(sizeof *m);
    if (!m)
        return;
    *m = d->member;
    fill_process(m);
    m->stat = spy_proc_stat_open(d->facts.dir, e->pid);
    if (m->stat >= FD_MAX) {
        close(m->stat);
        m->stat = -1;
    }
    e->in = m;
    d->table.n_in++;
    d->adopt = true;
    d->fn(d->arg, SPY_DISCOVER_ADDED, &m->p);
}

void spy_admit_end(struct spy_discover *d, struct spy_entry *e)
{
    struct spy_member *m = e->in;
    if (!m)
        return;
    e->in = NULL;
    d->table.n_in--;
    m->next = d->removed;
    d->removed = m;
    d->fn(d->arg, SPY_DISCOVER_REMOVED, &m->p);
}

void spy_admit_free_removed(struct spy_discover *d)
{
    while (d->removed) {
        struct spy_member *m = d->removed;
        d->removed = m->next;
        spy_member_free(m);
    }
}

// --- one process ---

struct spy_entry *spy_admit_parent(const struct spy_discover *d, const struct spy_proc_stat *s)
{
    struct spy_entry *e = s->ppid > 0 ? spy_table_find(&d->table, s->ppid) : NULL;
    // A parent that is younger than its child only has the number of the real parent.
    return e && e->in && e->start_time <= s->start_time ? e : NULL;
}

static void remember_facts(struct spy_discover *d, struct spy_entry *e, struct spy_facts *f)
{
    const struct spy_proc_args *args = spy_facts_args(f);
    const struct spy_cgroup *cg = spy_facts_container(f);
    uint64_t container = cg ? spy_discover_hash(cg->container_id) : 0;
    if (container != e->container_hash) {
        // Docker is asked once about a container, not for each process started in it.
        const struct spy_entry *parent = spy_table_find(&d->table, f->stat.ppid);
        bool same = parent && parent->container_hash == container;
        e->container_ns = same ? parent->container_ns : d->now;
    }
    e->args_hash = args ? spy_hash_bytes(args->joined, args->len) : 0;
    e->container_hash = container;
    e->checked_ns = d->now;
}

// The number was given to another process.
static void renew_entry(struct spy_discover *d, struct spy_entry *e, const struct spy_proc_stat *s)
{
    spy_admit_end(d, e);
    e->start_time = s->start_time;
    e->first_ns = d->now;
    e->wait = false;
    e->dead = SPY_ALIVE;
}

// Is this a zombie that is not reported yet, or was reported already?
static bool is_still_dead(struct spy_entry *e, const struct spy_proc_stat *s)
{
    if (!spy_proc_dead(s))
        return false;
    bool lingers = e->dead == SPY_DEAD_SEEN;
    e->dead = e->dead == SPY_ALIVE ? SPY_DEAD_SEEN : SPY_DEAD_TOLD;
    return !lingers;
}

static bool has_same_settings(const struct spy_member *a, const struct spy_member *b)
{
    return a->p.rate == b->p.rate && a->p.native == b->p.native && a->p.blocking == b->p.blocking &&
           a->consent == b->consent && strcmp(a->service, b->service) == 0 &&
           strcmp(a->pod, b->pod) == 0 && strcmp(a->container_name, b->container_name) == 0 &&
           strcmp(a->container_id, b->container_id) == 0;
}

// A member stays, is removed, or is removed and added, since its pod may have changed its settings.
// A member that no pod opted in stays, even after the parent through which it came in has exited.
static void update_member(struct spy_discover *d, struct spy_entry *e, enum spy_verdict v)
{
    bool stays = v == SPY_VERDICT_IN && has_same_settings(e->in, &d->member);
    stays |= v == SPY_VERDICT_OUT && !e->in->consent;
    if (v == SPY_VERDICT_WAIT || v == SPY_VERDICT_GONE || stays)
        return; // an exit is noticed by the poll
    uint32_t generation = e->in->p.generation;
    e->in->p.lives = true;
    spy_admit_end(d, e);
    d->member.p.generation = generation + 1;
    if (v == SPY_VERDICT_IN)
        opt_in(d, e);
}

static void apply_verdict(struct spy_discover *d, struct spy_entry *e, bool again)
{
    struct spy_facts *f = &d->facts;
    if (f->stat.start_time != e->start_time)
        renew_entry(d, e, &f->stat);
    e->ppid = f->stat.ppid;
    e->kernel = f->stat.kernel;
    if ((e->in && !again) || e->kernel || is_still_dead(e, &f->stat) || e->pid == d->self) {
        e->checked_ns = d->now;
        return;
    }
    struct spy_judge j = {.config = d->config,
                          .rules = d->rules,
                          .docker = d->docker && (!d->answer.asked_ns || d->answer.reached),
                          .docker_ns = d->answer.asked_ns,
                          .list = &d->list,
                          .kube = d->kube ? &d->view : NULL,
                          .now = d->now};
    remember_facts(d, e, f);
    enum spy_verdict v = spy_judge(&j, f, e, spy_admit_parent(d, &f->stat), &d->member);
    e->wait = v == SPY_VERDICT_WAIT;
    if (e->wait && d->docker)
        spy_docker_ask(d->docker);
    if (e->in)
        update_member(d, e, v);
    else if (v == SPY_VERDICT_IN)
        opt_in(d, e);
}

void spy_admit_open(struct spy_discover *d, struct spy_entry *e)
{
    apply_verdict(d, e, false);
}

static void open_and_apply(struct spy_discover *d, struct spy_entry *e, bool again)
{
    if (spy_facts_open(&d->facts, d->proc, e->pid) == 0)
        apply_verdict(d, e, again);
    spy_facts_close(&d->facts);
}

void spy_admit(struct spy_discover *d, struct spy_entry *e)
{
    open_and_apply(d, e, false);
}

void spy_admit_again(struct spy_discover *d, struct spy_entry *e)
{
    open_and_apply(d, e, true);
}
