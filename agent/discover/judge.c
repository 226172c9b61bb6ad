#include "agent/discover/judge.h"
#include "shared/base/clock.h"
#include "shared/base/map.h"
#include <stdio.h>
#include <string.h>

// The kubelet reports a container within a second or two, and a sandbox never.
#define UNTOLD_NS (15 * SPY_NS_PER_SEC)

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

static void by_labels(const struct spy_judge *j, const struct spy_labels *l, struct spy_member *m)
{
    set_defaults(j, m);
    if (l->rate)
        m->p.rate = l->rate;
    if (l->native >= 0)
        m->p.native = l->native;
    if (l->blocking >= 0)
        m->p.blocking = (enum spy_pausing)l->blocking;
    COPY(m->service, l->service);
    m->by_label = true;
}

static void by_container(const struct spy_judge *j, const struct spy_container *c,
                         struct spy_member *m)
{
    by_labels(j, &c->labels, m);
    if (!*m->service)
        COPY(m->service, *c->owner ? c->owner : c->name);
    COPY(m->pod, c->name);
    COPY(m->reason, "docker label");
}

static void by_pod(const struct spy_judge *j, const struct spy_pod *pod, struct spy_member *m)
{
    by_labels(j, &pod->labels, m);
    if (!*m->service)
        COPY(m->service, pod->service);
    m->consent = spy_hash_bytes(pod->uid, strlen(pod->uid));
    COPY(m->reason, "pod annotation");
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
    m->consent = from->consent;
    COPY(m->service, from->service);
    COPY(m->namespace_name, from->namespace_name);
    COPY(m->pod, c && !same_container ? c->name : from->pod);
    snprintf(m->reason, sizeof m->reason, "child of %d", (int)parent->pid);
}

// Is it worth waiting for Docker's answer? A pod's containers have no labels of their owner's.
static bool dockers(const struct spy_cgroup *c)
{
    return *c->container_id && !*c->pod_uid &&
           (c->runtime == SPY_RUNTIME_DOCKER || c->runtime == SPY_RUNTIME_UNKNOWN);
}

// Where a process is, according to Kubernetes.
struct place {
    struct spy_pod *pod;                    // NULL: not known
    const struct spy_pod_container *inside; // of pod, or NULL
};

static struct place place_of(const struct spy_judge *j, const struct spy_cgroup *cg)
{
    struct place p = {0};
    if (!j->kube)
        return p;
    p.inside = spy_pods_container(&j->kube->pods, cg->container_id, &p.pod);
    if (!p.inside)
        p.pod = spy_pods_find(&j->kube->pods, cg->pod_uid);
    return p;
}

// While the API is away it reports no new containers, so rules decide without it.
static bool is_unlisted(const struct spy_judge *j, const struct spy_entry *e,
                        const struct spy_cgroup *cg, const struct place *p)
{
    if (!j->kube || p->inside || !*cg->pod_uid || j->kube->failing)
        return false;
    return !j->kube->synced || j->now - e->container_ns < UNTOLD_NS;
}

static enum spy_consent pod_consent(const struct place *p)
{
    enum spy_consent said = p->pod ? p->pod->labels.consent : SPY_CONSENT_UNSAID;
    if (said == SPY_CONSENT_YES && !p->inside)
        return SPY_CONSENT_UNSAID;
    if (said == SPY_CONSENT_YES && !spy_labels_choose(&p->pod->labels, p->inside->name))
        return SPY_CONSENT_NO;
    return said;
}

static void name_place(const struct spy_cgroup *cg, const struct place *p,
                       const struct spy_container *c, struct spy_member *m)
{
    COPY(m->container_id, cg->container_id);
    COPY(m->pod_uid, cg->pod_uid);
    if (c) {
        COPY(m->container_name, c->name);
        COPY(m->image_name, c->image);
    }
    if (p->pod) {
        COPY(m->pod, p->pod->name);
        COPY(m->pod_uid, p->pod->uid);
        COPY(m->namespace_name, p->pod->namespace_name);
        COPY(m->container_name, p->inside ? p->inside->name : "");
        COPY(m->image_name, p->inside ? p->inside->image : "");
    }
}

enum spy_verdict spy_judge(const struct spy_judge *j, struct spy_facts *f,
                           const struct spy_entry *e, const struct spy_entry *parent,
                           struct spy_member *ret)
{
    const struct spy_cgroup *cg = spy_facts_container(f);
    if (!cg)
        return SPY_VERDICT_GONE;
    bool same = parent && strcmp(parent->in->container_id, cg->container_id) == 0;
    struct place p = place_of(j, cg);
    enum spy_consent pod = pod_consent(&p);
    const struct spy_container *c = NULL;
    // Podman's service speaks Docker's language, so any container may be in the list.
    if (*cg->container_id && !p.pod)
        c = spy_containers_find(j->list, cg->container_id);
    if (pod == SPY_CONSENT_NO || (c && c->labels.consent == SPY_CONSENT_NO))
        return SPY_VERDICT_REFUSED;
    if (!same && is_unlisted(j, e, cg, &p))
        return SPY_VERDICT_WAIT;
    if (!c && !p.pod && !same && j->docker && dockers(cg) && j->docker_ns <= e->container_ns)
        return SPY_VERDICT_WAIT;

    const struct spy_rule *rule = NULL;
    *ret = (struct spy_member){0};
    if (pod == SPY_CONSENT_YES)
        by_pod(j, p.pod, ret);
    else if (c && c->labels.consent == SPY_CONSENT_YES)
        by_container(j, c, ret);
    else if (!(same && parent->in->by_label) && (rule = spy_rules_match(j->rules, f)))
        by_rule(j, rule, c, ret);
    else if (parent)
        by_parent(parent, same, c, ret);
    else
        return SPY_VERDICT_OUT;
    name_place(cg, &p, c, ret);
    spy_member_describe(ret, f);
    return SPY_VERDICT_IN;
}
