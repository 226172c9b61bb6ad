// Reports why something is not profiled.
#include "agent/discover/inside.h"
#include "agent/discover/take.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <string.h>

struct teller {
    const struct spy_discover *d;
    spy_problem_fn fn;
    void *arg;
};

static void report_problem(const struct teller *t, struct spy_problem p)
{
    struct spy_place *at = &p.place;
    const char **all[] = {&at->pod,          &at->namespace_name, &at->pod_uid, &at->container,
                          &at->container_id, &at->image,          &at->service};
    for (size_t i = 0; i < SPY_COUNT(all); i++)
        if (!*all[i])
            *all[i] = "";
    t->fn(t->arg, &p);
}

// --- Docker ---

static pid_t first_pid_of(const struct spy_discover *d, const char *container_id)
{
    uint64_t hash = spy_discover_hash(container_id);
    for (size_t i = 0; i < d->table.n && hash; i++)
        if (d->table.all[i]->container_hash == hash)
            return d->table.all[i]->pid;
    return 0;
}

static void explain_docker(const struct teller *t)
{
    const struct spy_discover *d = t->d;
    for (size_t i = 0; i < d->list.n; i++) {
        const struct spy_container *c = &d->list.all[i];
        for (unsigned k = 0; k < c->labels.n_problems; k++)
            report_problem(t, (struct spy_problem){.place = {.pod = c->name,
                                                             .container = c->name,
                                                             .container_id = c->id,
                                                             .image = c->image},
                                                   .pid = first_pid_of(d, c->id),
                                                   .text = c->labels.problems[k]});
    }
    if (spy_take_docker_fails(d))
        report_problem(t, (struct spy_problem){.text = d->answer.err.msg});
}

// --- Kubernetes ---

static void next(struct spy_buf *out)
{
    if (out->len)
        spy_buf_puts(out, "; ");
}

// Lists containers that the annotation names and the pod does not have.
static void explain_choice(const struct teller *t, const struct spy_pod *pod, struct spy_buf *out)
{
    char name[64];
    size_t len;
    for (const char *p = pod->labels.containers; *p; p += len + (p[len] == ',')) {
        bool found = false;
        len = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)(len < 63 ? len : 63), p);
        for (size_t i = 0; i < pod->n; i++)
            found |= strcmp(pod->containers[i].name, name) == 0;
        if (found)
            continue;
        next(out);
        spy_buf_printf(out, "%.100s/containers names '%s', which the pod does not have",
                       t->d->config->discovery.annotation_prefix, name);
    }
}

static void explain_container(const struct teller *t, const struct spy_pod_container *c,
                              struct spy_buf *out)
{
    if (*c->state && strcmp(c->state, "Completed") != 0) {
        next(out);
        spy_buf_printf(out, "container %s does not run: %s", c->name, c->state);
    } else if (!*c->state && *c->id && !first_pid_of(t->d, c->id)) {
        next(out);
        spy_buf_printf(out,
                       "no process of container %s is seen: does the agent's pod have hostPID: "
                       "true?",
                       c->name);
    }
}

static void explain_pod(const struct teller *t, const struct spy_pod *pod)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(1000);
    const char *prefix = t->d->config->discovery.annotation_prefix;
    bool seeing = t->d->listing > 0; // /proc was listed
    for (unsigned k = 0; k < pod->labels.n_problems; k++)
        next(&text), spy_buf_puts(&text, pod->labels.problems[k]);
    if (pod->labels.consent == SPY_CONSENT_UNSAID) {
        next(&text);
        spy_buf_printf(&text, "not annotated: kubectl annotate pod -n %s %s %.100s/profile=true",
                       pod->namespace_name, pod->name, prefix);
    } else if (pod->labels.consent == SPY_CONSENT_NO && !pod->labels.n_problems) {
        next(&text);
        spy_buf_printf(&text, "%.100s/profile is not \"true\"", prefix);
    } else if (pod->labels.consent == SPY_CONSENT_YES) {
        explain_choice(t, pod, &text);
        for (size_t i = 0; i < pod->n && seeing; i++)
            if (spy_labels_choose(&pod->labels, pod->containers[i].name))
                explain_container(t, &pod->containers[i], &text);
    }
    if (text.len)
        report_problem(t, (struct spy_problem){.place = {.pod = pod->name,
                                                         .namespace_name = pod->namespace_name,
                                                         .pod_uid = pod->uid,
                                                         .service = pod->service},
                                               .text = spy_buf_str(&text)});
}

static void explain_kube(const struct teller *t)
{
    const struct spy_discover *d = t->d;
    char text[128];
    for (size_t i = 0; i < d->view.pods.n; i++)
        explain_pod(t, d->view.pods.all[i]);
    if (d->no_kube.code)
        report_problem(t, (struct spy_problem){.text = d->no_kube.msg});
    if (d->view.failing)
        report_problem(t, (struct spy_problem){.text = d->view.err.msg});
    if (d->view.full) {
        snprintf(text, sizeof text, "more than %d pods on this node: the rest is left out",
                 SPY_PODS_MAX);
        report_problem(t, (struct spy_problem){.text = text});
    }
    if (d->view.skipped) {
        snprintf(text, sizeof text, "%zu pods of Kubernetes are too large or make no sense",
                 d->view.skipped);
        report_problem(t, (struct spy_problem){.text = text});
    }
}

// --- all ---

void spy_discover_explain(const struct spy_discover *d, spy_problem_fn fn, void *arg)
{
    struct teller t = {d, fn, arg};
    char text[96];
    explain_kube(&t);
    explain_docker(&t);
    if (d->table_full) {
        snprintf(text, sizeof text, "more than %d processes: the rest is not looked at",
                 SPY_TABLE_MAX);
        report_problem(&t, (struct spy_problem){.text = text});
    }
    if (d->members_full) {
        snprintf(text, sizeof text, "more than %d processes opted in: the rest is left out",
                 SPY_MEMBERS_MAX);
        report_problem(&t, (struct spy_problem){.text = text});
    }
}
