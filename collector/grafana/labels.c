// labels.c - what there is: profile types, names of labels, their values. All are read from the list
// of processes, which holds the latest 10000 of a time range.
#include "collector/grafana/message.h"
#include "shared/base/mem.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t n_types, n_names, n_values;
enum { SELECTORS_MAX = 16 };

struct texts {
    json_t *set; // the texts are its keys
    bool failed;
};

static void add_text(struct texts *t, const char *text)
{
    t->failed = t->failed || json_object_set_new(t->set, text, json_true()) < 0;
}

static void texts_done(struct texts *t)
{
    json_decref(t->set);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The texts in order; they borrow from the set. *ret: to free().
static int sort_texts(const struct texts *t, char ***ret, size_t *ret_n)
{
    size_t n = 0;
    const char *key;
    json_t *value;
    char **list = t->failed ? NULL : calloc(json_object_size(t->set) + 1, sizeof *list);
    if (!list)
        return SPY_ERR_NOMEM;
    json_object_foreach(t->set, key, value) list[n++] = (char *)(uintptr_t)key; // NOLINT: only read
    qsort(list, n, sizeof *list, compare_texts);
    *ret = list;
    *ret_n = n;
    return 0;
}

// --- the processes that any of some selectors matches ---

struct listing {
    struct spy_matchers selectors[SELECTORS_MAX];
    size_t n;
    void (*see)(struct listing *l, const struct spy_named *labels, size_t n,
                const struct spy_store_process *process);
    const char *name; // of the label whose values are listed
    bool usual;       // there are samples of CPU or wall time
    struct texts *to;
    struct spy_err err;
};

static void listing_free(struct listing *l)
{
    while (l->n)
        spy_matchers_free(&l->selectors[--l->n]);
}

static int is_listed(struct listing *l, const struct spy_named *labels, size_t n)
{
    int r = !l->n;
    for (size_t i = 0; i < l->n && r == 0; i++)
        r = spy_matchers_match(&l->selectors[i], labels, n, &l->err);
    return r;
}

static void see_process(void *listing, const struct spy_store_process *process)
{
    struct listing *l = listing;
    struct spy_named labels[SPY_LABELS_MAX];
    size_t n = 0;
    const char *key;
    json_t *value, *root = l->err.code ? NULL : json_loads(process->labels_json, 0, NULL);
    json_object_foreach(root, key, value)
    {
        if (n < SPY_LABELS_MAX && json_is_string(value))
            labels[n++] = (struct spy_named){key, json_string_value(value)};
    }
    if (root && is_listed(l, labels, n) > 0)
        l->see(l, labels, n, process);
    json_decref(root);
}

static int parse_selectors(struct listing *l, char **texts, size_t n, struct spy_err *err)
{
    int r = 0;
    if (n > SELECTORS_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "more than %d label selectors", SELECTORS_MAX);
    for (size_t i = 0; i < n && r == 0; i++) {
        r = spy_matchers_parse(texts[i], &l->selectors[l->n], err);
        l->n += r == 0;
    }
    return r;
}

// Calls l->see for each process of the time range that matches.
static int list_matching(const struct spy_querier_call *c, struct listing *l, int64_t start,
                         int64_t end, struct spy_err *err)
{
    struct spy_select select = {.stop = c->stop};
    int r = spy_range_parse(start, end, c->now_ns, &select, err);
    if (r == 0 && l->n == 1)
        spy_matchers_narrow(&l->selectors[0], &select);
    if (r == 0)
        r = spy_store_processes(c->store, &select, see_process, l, err);
    if (r == 0 && l->err.code) {
        r = l->err.code;
        if (err)
            *err = l->err;
    }
    return r == 0 && l->to->failed ? spy_err_nomem(err) : r;
}

// --- profile types ---

static void see_type(struct listing *l, const struct spy_named *labels, size_t n,
                     const struct spy_store_process *process)
{
    const char *type = NULL;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(labels[i].key, SPY_LABEL_SAMPLE_TYPE))
            type = labels[i].value;
    if (type && process->samples && spy_type_is_plain(type))
        add_text(l->to, type);
    l->usual = l->usual || (!type && process->samples);
}

static void put_type(struct spy_message *m, Spy__Querier__ProfileTypesResponse *to,
                     const struct spy_profile_type *t)
{
    size_t size = SPY_TYPE_ID_MAX + 64;
    Spy__Querier__ProfileType *row = spy_arena_alloc(&m->arena, sizeof *row);
    char *id = spy_arena_alloc(&m->arena, size);
    if (!row || !id)
        return;
    snprintf(id, size, "%s:%s:%s:%s:nanoseconds", t->name, t->sample_type, t->unit, t->period);
    spy__querier__profile_type__init(row);
    row->id = id;
    row->name = (char *)(uintptr_t)t->name; // NOLINT: of this and the next, all are only read
    row->sample_type = (char *)(uintptr_t)t->sample_type;
    row->sample_unit = (char *)(uintptr_t)t->unit;
    row->period_type = (char *)(uintptr_t)t->period;
    row->period_unit = (char *)(uintptr_t) "nanoseconds";
    to->profile_types[to->n_profile_types++] = row;
}

static int write_types(const struct listing *l, struct spy_message *m, struct spy_buf *out,
                       struct spy_err *err)
{
    Spy__Querier__ProfileTypesResponse answer = SPY__QUERIER__PROFILE_TYPES_RESPONSE__INIT;
    _cleanup_free_ char **others = NULL;
    size_t n = 0;
    if (sort_texts(l->to, &others, &n) < 0)
        return spy_err_nomem(err);
    _cleanup_free_ Spy__Querier__ProfileType **rows =
        calloc(spy_profile_n_types + 2 * n, sizeof *rows);
    if (!rows)
        return spy_err_nomem(err);
    answer.profile_types = rows;
    for (size_t i = 0; l->usual && i < spy_profile_n_types; i++)
        put_type(m, &answer, &spy_profile_types[i]);
    for (size_t i = 0; i < 2 * n; i++)
        put_type(m, &answer,
                 &(struct spy_profile_type){"other", others[i / 2], i % 2 ? "count" : "nanoseconds",
                                            "wall", 0});
    return spy_message_write(&answer.base, out, err);
}

static int answer_profile_types(const struct spy_querier_call *c, struct spy_buf *out,
                                struct spy_err *err)
{
    _cleanup_message_ struct spy_message m = {0};
    _cleanup_(texts_done) struct texts others = {.set = json_object()};
    struct listing l = {.see = see_type, .to = &others};
    int r = spy_message_read(c, &spy__querier__profile_types_request__descriptor, &m, err);
    if (r < 0)
        return r;
    const Spy__Querier__ProfileTypesRequest *asked = (void *)m.m;
    r = list_matching(c, &l, asked->start, asked->end, err);
    return r < 0 ? r : write_types(&l, &m, out, err);
}

// --- names and values of labels ---

static void see_names(struct listing *l, const struct spy_named *labels, size_t n,
                      const struct spy_store_process *process)
{
    (void)process;
    for (size_t i = 0; i < n; i++) {
        char *name = malloc(strlen(labels[i].key) + 2);
        if (name)
            spy_label_name(labels[i].key, name);
        add_text(l->to, name ? name : labels[i].key);
        free(name);
    }
}

static void see_value(struct listing *l, const struct spy_named *labels, size_t n,
                      const struct spy_store_process *process)
{
    (void)process;
    const char *value = spy_label_value(labels, n, l->name);
    if (*value)
        add_text(l->to, value);
}

static int answer_label_names(const struct spy_querier_call *c, struct spy_buf *out,
                              struct spy_err *err)
{
    _cleanup_message_ struct spy_message m = {0};
    _cleanup_(texts_done) struct texts names = {.set = json_object()};
    _cleanup_(listing_free) struct listing l = {.see = see_names, .to = &names};
    _cleanup_free_ char **sorted = NULL;
    Spy__Querier__LabelNamesResponse answer = SPY__QUERIER__LABEL_NAMES_RESPONSE__INIT;
    int r = spy_message_read(c, &spy__querier__label_names_request__descriptor, &m, err);
    if (r < 0)
        return r;
    const Spy__Querier__LabelNamesRequest *asked = (void *)m.m;
    r = parse_selectors(&l, asked->matchers, asked->n_matchers, err);
    if (r == 0)
        r = list_matching(c, &l, asked->start, asked->end, err);
    if (r == 0)
        r = sort_texts(&names, &sorted, &answer.n_names);
    answer.names = sorted;
    return r < 0 ? r : spy_message_write(&answer.base, out, err);
}

static int answer_label_values(const struct spy_querier_call *c, struct spy_buf *out,
                               struct spy_err *err)
{
    _cleanup_message_ struct spy_message m = {0};
    _cleanup_(texts_done) struct texts values = {.set = json_object()};
    _cleanup_(listing_free) struct listing l = {.see = see_value, .to = &values};
    _cleanup_free_ char **sorted = NULL;
    Spy__Querier__LabelValuesResponse answer = SPY__QUERIER__LABEL_VALUES_RESPONSE__INIT;
    int r = spy_message_read(c, &spy__querier__label_values_request__descriptor, &m, err);
    if (r < 0)
        return r;
    const Spy__Querier__LabelValuesRequest *asked = (void *)m.m;
    l.name = asked->name;
    if (!*l.name)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "name is empty: which label's values?");
    r = parse_selectors(&l, asked->matchers, asked->n_matchers, err);
    if (r == 0)
        r = list_matching(c, &l, asked->start, asked->end, err);
    if (r == 0)
        r = sort_texts(&values, &sorted, &answer.n_names);
    answer.names = sorted;
    return r < 0 ? r : spy_message_write(&answer.base, out, err);
}

const struct spy_querier_method spy_querier_profile_types = {
    .path = "/querier.v1.QuerierService/ProfileTypes",
    .answer = answer_profile_types,
    .n_asked = &n_types,
};
const struct spy_querier_method spy_querier_label_names = {
    .path = "/querier.v1.QuerierService/LabelNames",
    .answer = answer_label_names,
    .n_asked = &n_names,
};
const struct spy_querier_method spy_querier_label_values = {
    .path = "/querier.v1.QuerierService/LabelValues",
    .answer = answer_label_values,
    .n_asked = &n_values,
};
