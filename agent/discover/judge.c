#include "agent/discover/judge.h"
#include <stdio.h>
#include <string.h>

#define COPY(to, from) snprintf(to, sizeof(to), "%s", from)

void spy_member_describe(struct spy_member *m, struct spy_facts *f)
{
    const struct spy_proc_args *args = spy_facts_args(f);
    const struct spy_proc_status *status = spy_facts_status(f);
    spy_proc_clean(m->command, sizeof m->command, f->stat.comm, strlen(f->stat.comm));
    spy_proc_clean(m->cmdline, sizeof m->cmdline, args ? args->joined : "", args ? args->len : 0);
    m->image = f->stat.image;
    m->p.pid = f->stat.pid;
    m->p.ppid = f->stat.ppid;
    m->p.ns_pid = status ? status->ns_pid : 0;
    m->p.start_time = f->stat.start_time;
}

static void set_defaults(const struct spy_judge *j, struct spy_member *m)
{
    m->p.rate = j->config->sampling.rate;
    m->p.native = j->config->sampling.native;
    m->p.blocking = j->config->sampling.blocking;
}

static void by_label(const struct spy_judge *j, const struct spy_container *c, struct spy_member *m)
{
    const struct spy_labels *l = &c->labels;
    set_defaults(j, m);
    if (l->rate)
        m->p.rate = l->rate;
    if (l->native >= 0)
        m->p.native = l->native;
    if (l->blocking >= 0)
        m->p.blocking = (enum spy_blocking)l->blocking;
    COPY(m->service, *l->service ? l->service : *c->owner ? c->owner : c->name);
    COPY(m->pod, c->name);
    COPY(m->reason, "docker label");
    m->by_label = true;
}

static void by_rule(const struct spy_judge *j, const struct spy_rule *rule,
                    const struct spy_container *c, struct spy_member *m)
{
    set_defaults(j, m);
    if (rule->rate)
        m->p.rate = rule->rate;
    m->p.native |= rule->native;
    spy_proc_clean(m->service, sizeof m->service, rule->name, strlen(rule->name));
    COPY(m->pod, c ? c->name : m->service);
    snprintf(m->reason, sizeof m->reason, "rule %.80s", m->service);
}

static void by_parent(const struct spy_entry *parent, bool same_container,
                      const struct spy_container *c, struct spy_member *m)
{
    const struct spy_member *from = parent->in;
    m->p.rate = from->p.rate;
    m->p.native = from->p.native;
    m->p.blocking = from->p.blocking;
    m->by_label = from->by_label;
    COPY(m->service, from->service);
    COPY(m->pod, c && !same_container ? c->name : from->pod);
    snprintf(m->reason, sizeof m->reason, "child of %d", (int)parent->pid);
}

// Worth waiting for Docker's word. A pod's containers have no labels of their owner's.
static bool dockers(const struct spy_cgroup *c)
{
    return *c->container_id && !*c->pod_uid &&
           (c->runtime == SPY_RUNTIME_DOCKER || c->runtime == SPY_RUNTIME_UNKNOWN);
}

enum spy_verdict spy_judge(const struct spy_judge *j, struct spy_facts *f,
                           const struct spy_entry *e, const struct spy_entry *parent,
                           struct spy_member *ret)
{
    const struct spy_cgroup *cg = spy_facts_container(f);
    if (!cg)
        return SPY_VERDICT_GONE;
    bool same = parent && strcmp(parent->in->container_id, cg->container_id) == 0;
    const struct spy_container *c = NULL;
    // Podman's service speaks Docker's language, so any container may be in the list.
    if (*cg->container_id)
        c = spy_containers_find(j->list, cg->container_id);
    if (!c && !same && j->docker && dockers(cg) && j->docker_ns <= e->container_ns)
        return SPY_VERDICT_WAIT;
    if (c && c->labels.consent == SPY_CONSENT_NO)
        return SPY_VERDICT_OUT;

    const struct spy_rule *rule = NULL;
    *ret = (struct spy_member){0};
    if (c && c->labels.consent == SPY_CONSENT_YES)
        by_label(j, c, ret);
    else if (!(same && parent->in->by_label) && (rule = spy_rules_match(j->rules, f)))
        by_rule(j, rule, c, ret);
    else if (parent)
        by_parent(parent, same, c, ret);
    else
        return SPY_VERDICT_OUT;

    COPY(ret->container_id, cg->container_id);
    COPY(ret->pod_uid, cg->pod_uid);
    if (c) {
        COPY(ret->container_name, c->name);
        COPY(ret->image_name, c->image);
    }
    spy_member_describe(ret, f);
    return SPY_VERDICT_IN;
}
