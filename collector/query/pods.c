// pods.c - the known pods as JSON: pods hold containers, containers hold processes. The store lists
// series; series of one process that differ only in its problem are one process here.
#include "collector/query/pods.h"
#include "collector/query/activity.h"
#include "collector/query/answer_json.h"
#include "shared/base/mem.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t spy_pods_n_asked;

struct field {
    const char *name, *label;
};
static const struct field pod_fields[] = {
    {"pod", SPY_LABEL_POD},         {"cluster", SPY_LABEL_CLUSTER},
    {"pod_uid", SPY_LABEL_POD_UID}, {"namespace", SPY_LABEL_NAMESPACE},
    {"node", SPY_LABEL_NODE},       {"host", SPY_LABEL_HOST},
    {"service", SPY_LABEL_SERVICE},
};
static const struct field container_fields[] = {
    {"container", SPY_LABEL_CONTAINER},
    {"container_id", SPY_LABEL_CONTAINER_ID},
    {"image", SPY_LABEL_IMAGE},
};
static const struct field process_fields[] = {
    {"command", SPY_LABEL_COMMAND},
    {"runtime", SPY_LABEL_RUNTIME},
    {"python_version", SPY_LABEL_RUNTIME_VERSION},
    {"sample_type", SPY_LABEL_SAMPLE_TYPE},
};
static const struct field number_fields[] = {
    {"pid", SPY_LABEL_PID},
    {"ns_pid", SPY_LABEL_NS_PID},
    {"parent_pid", SPY_LABEL_PARENT_PID},
};

struct collect {
    json_t *pods;  // the answer's array
    json_t *index; // path of names -> its object; owns the reference
    bool failed, too_large;
    size_t bytes, memory; // that the answer takes (an estimate), and may take
    struct process_account {
        json_t *process; // borrowed
        struct spy_account sum;
    } * accounts; // by the number that `process` holds until the account is complete
    size_t n, cap;
};

static const char *get_label(const json_t *labels, const char *key)
{
    const char *v = json_string_value(json_object_get(labels, key));
    return v ? v : "";
}

static void put_fields(json_t *to, const json_t *labels, const struct field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (*get_label(labels, fields[i].label))
            json_object_set_new(to, fields[i].name,
                                json_string(get_label(labels, fields[i].label)));
}

static void extend_path(struct spy_buf *path, const json_t *labels, const struct field *fields,
                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        spy_buf_puts(path, get_label(labels, fields[i].label));
        spy_buf_putc(path, '\x1f');
    }
    spy_buf_putc(path, '\x1e');
}

// The object at path, or a new one at the end of the array `in`. *ret_new: whether it is new.
static json_t *object_at(struct collect *c, const struct spy_buf *path, json_t *in, bool *ret_new)
{
    json_t *o = json_object_get(c->index, spy_buf_str(path));
    *ret_new = !o;
    if (o)
        return o;
    o = json_object();
    if (path->failed || json_object_set_nocheck(c->index, spy_buf_str(path), o) < 0 ||
        json_array_append(in, o) < 0)
        c->failed = true;
    json_decref(o); // the index and the array have references
    return c->failed ? NULL : o;
}

static json_t *group_at(struct collect *c, const struct spy_buf *path, json_t *in,
                        const json_t *labels, const struct field *fields, size_t n,
                        const char *members)
{
    bool is_new;
    json_t *o = object_at(c, path, in, &is_new);
    if (o && is_new) {
        put_fields(o, labels, fields, n);
        json_object_set_new(o, members, json_array());
    }
    return json_object_get(o, members);
}

// --- one process ---

static void put_json_time(json_t *to, const char *name, uint64_t ns)
{
    char text[SPY_TIME_TEXT];
    spy_time_print(ns, text);
    json_object_set_new(to, name, json_string(text));
}

// Saturates: JSON readers, jansson among them, take no larger integer.
static void add_number(json_t *to, const char *name, uint64_t n)
{
    uint64_t sum = spy_add_sat((uint64_t)json_integer_value(json_object_get(to, name)), n);
    json_object_set_new(to, name, json_integer((json_int_t)spy_min(sum, INT64_MAX)));
}

static void add_json_quality(json_t *to, const struct spy_quality *q)
{
    if (!json_object_get(to, "quality"))
        json_object_set_new(to, "quality", json_object());
    json_t *o = json_object_get(to, "quality");
#define ADD(name, ...) add_number(o, #name, q->name);
    SPY_QUALITY(ADD)
#undef ADD
}

// Sums the accounts of a process's series; finish_pods prints the sums when all series are known.
static void unite_account(struct collect *c, json_t *process, const struct spy_account *a)
{
    size_t i = 0;
    const json_t *number = json_object_get(process, "account");
    if (number) {
        i = (size_t)json_integer_value(number);
    } else if (spy_grow(&c->accounts, &c->cap, c->n + 1, sizeof *c->accounts, SIZE_MAX / 2) < 0) {
        c->failed = true;
        return;
    } else {
        i = c->n++;
        c->accounts[i] = (struct process_account){.process = process};
        json_object_set_new(process, "account", json_integer((json_int_t)i));
    }
    spy_account_unite(&c->accounts[i].sum, a);
}

// A pod is throttled when one of its processes is.
static void finish_pods(const struct collect *c)
{
    size_t i, j, k;
    json_t *pod, *container, *process;
    for (i = 0; i < c->n; i++)
        spy_answer_account(&c->accounts[i].sum, c->accounts[i].process);
    json_array_foreach(c->pods, i, pod)
    {
        bool throttled = false;
        json_array_foreach(json_object_get(pod, "containers"), j, container)
            json_array_foreach(json_object_get(container, "processes"), k, process) throttled =
                throttled || json_is_true(json_object_get(process, "throttled"));
        json_object_set_new(pod, "throttled", json_boolean(throttled));
    }
}

static json_t *threads_of(const struct spy_store_process *p)
{
    json_t *list = json_array();
    for (size_t i = 0; i < p->n_threads; i++)
        json_array_append_new(list, json_pack("{s:I, s:s}", "tid", (json_int_t)p->threads[i].tid,
                                              "name", p->threads[i].name));
    return list;
}

// The store lists the latest series first: its facts are the current ones.
static void put_latest(json_t *o, const json_t *labels, const struct spy_store_process *p)
{
    for (size_t i = 0; i < SPY_COUNT(number_fields); i++)
        if (*get_label(labels, number_fields[i].label))
            json_object_set_new(
                o, number_fields[i].name,
                json_integer(strtoll(get_label(labels, number_fields[i].label), NULL, 10)));
    put_fields(o, labels, process_fields, SPY_COUNT(process_fields));
    const char *problem = get_label(labels, SPY_LABEL_PROBLEM);
    json_object_set_new(o, "problem", *problem ? json_string(problem) : json_null());
    put_json_time(o, "last_seen", p->last_ns);
    json_object_set_new(o, "rate_hz",
                        p->period_ns ? json_real(1e9 / (double)p->period_ns) : json_null());
    json_object_set_new(o, "threads", threads_of(p));
}

static void put_process(struct collect *c, json_t *o, bool is_new, const json_t *labels,
                        const struct spy_store_process *p)
{
    if (is_new)
        put_latest(o, labels, p);
    const char *first = json_string_value(json_object_get(o, "first_seen"));
    char text[SPY_TIME_TEXT];
    spy_time_print(p->first_ns, text);
    if (!first || strcmp(text, first) < 0) // this form sorts as text
        json_object_set_new(o, "first_seen", json_string(text));
    add_number(o, "windows", p->windows);
    add_number(o, "samples", p->samples);
    add_json_quality(o, &p->quality);
    unite_account(c, o, &p->account);
}

static void collect_process(void *arg, const struct spy_store_process *p)
{
    struct collect *c = arg;
    enum { PROCESS_BYTES = 8192, THREAD_BYTES = 256 }; // jansson takes some 100 for each value
    bool is_new;
    _cleanup_buf_ struct spy_buf path = SPY_BUF_INIT(1 << 20);
    c->bytes += PROCESS_BYTES + p->n_threads * THREAD_BYTES + 4 * strlen(p->labels_json);
    c->too_large = c->bytes > c->memory;
    if (c->too_large)
        return;
    json_t *labels = json_loads(p->labels_json, 0, NULL);
    extend_path(&path, labels, pod_fields, SPY_COUNT(pod_fields));
    json_t *containers =
        group_at(c, &path, c->pods, labels, pod_fields, SPY_COUNT(pod_fields), "containers");
    extend_path(&path, labels, container_fields, SPY_COUNT(container_fields));
    json_t *processes = group_at(c, &path, containers, labels, container_fields,
                                 SPY_COUNT(container_fields), "processes");
    extend_path(&path, labels, number_fields, SPY_COUNT(number_fields));
    extend_path(&path, labels, process_fields, SPY_COUNT(process_fields));
    json_t *o = object_at(c, &path, processes, &is_new);
    if (o)
        put_process(c, o, is_new, labels, p);
    json_decref(labels);
}

static json_t *find_answered_process(void *arg, const json_t *labels)
{
    const struct collect *c = arg;
    _cleanup_buf_ struct spy_buf path = SPY_BUF_INIT(1 << 20);
    extend_path(&path, labels, pod_fields, SPY_COUNT(pod_fields));
    extend_path(&path, labels, container_fields, SPY_COUNT(container_fields));
    extend_path(&path, labels, number_fields, SPY_COUNT(number_fields));
    extend_path(&path, labels, process_fields, SPY_COUNT(process_fields));
    return path.failed ? NULL : json_object_get(c->index, spy_buf_str(&path));
}

// --- answers ---

static int collect_into(const struct spy_question *q, struct spy_selector *s, struct spy_answer *a,
                        struct collect *c, struct spy_err *err)
{
    int r = spy_selector_parse(q->params, q->n_params, SPY_TAKES_STEPS, q->now_ns, s, a->hint, err);
    if (r < 0)
        return r;
    c->pods = json_array();
    c->index = json_object();
    s->select.stop = q->stop;
    c->memory = q->memory;
    r = spy_store_processes(q->store, &s->select, collect_process, c, err);
    if (r == 0 && s->steps && !c->failed && !c->too_large)
        r = spy_activity_add(q, s, find_answered_process, c, err);
    json_decref(c->index);
    finish_pods(c);
    free(c->accounts);
    if (r == 0 && c->too_large)
        r = spy_err_set(
            err, SPY_ERR_LIMIT, 0,
            "more processes are selected than an answer may hold: narrow the selection");
    if (r == 0 && c->failed)
        r = spy_err_nomem(err);
    if (r == 0 && !json_array_size(c->pods) && s->n_asked)
        r = spy_query_not_found(q->store, s, a->hint, err);
    if (r < 0)
        json_decref(c->pods);
    return r;
}

int spy_pods_collect(const struct spy_question *q, struct spy_selector *s, struct spy_answer *a,
                     json_t **ret, struct spy_err *err)
{
    struct collect c = {0};
    int r = collect_into(q, s, a, &c, err);
    if (r == 0)
        *ret = c.pods;
    return r;
}

static int answer_pods(const struct spy_question *q, struct spy_answer *a, struct spy_err *err)
{
    struct spy_selector s;
    json_t *pods = NULL;
    char from[SPY_TIME_TEXT], until[SPY_TIME_TEXT];
    int r = spy_pods_collect(q, &s, a, &pods, err);
    if (r < 0)
        return r;
    spy_time_print(s.select.from_ns, from);
    spy_time_print(s.select.until_ns, until);
    json_t *root = json_pack("{s:s, s:s, s:o}", "from", from, "until", until, "pods", pods);
    return spy_answer_json(root, a, err);
}

const struct spy_query spy_query_pods = {
    .path = "/pods",
    .kind = "pods",
    .n_asked = &spy_pods_n_asked,
    .answer = answer_pods,
};
