// not_found.c - the error when nothing matches: what was selected, and what there is instead.
#include "collector/query/query.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { NAMED_MAX = 20 };

struct listing {
    const char *const *keys; // labels whose values are listed
    json_t *values;          // an object as a set
    uint64_t last_ns;
};

static void note_process(void *arg, const struct spy_store_process *process)
{
    struct listing *l = arg;
    if (process->last_ns > l->last_ns)
        l->last_ns = process->last_ns;
    json_t *labels = json_loads(process->labels_json, 0, NULL);
    for (size_t i = 0; i < 3 && l->keys[i]; i++) {
        const char *value = json_string_value(json_object_get(labels, l->keys[i]));
        if (value && *value) {
            json_object_set_new(l->values, value, json_true());
            break;
        }
    }
    json_decref(labels);
}

static void print_values(const struct listing *l, const char *what, char *hint)
{
    size_t n = 0, all = json_object_size(l->values);
    size_t at = (size_t)snprintf(hint, SPY_HINT_MAX,
                                 "in that time there %s %zu %s%s:", all == 1 ? "is" : "are", all,
                                 what, all == 1 ? "" : "s");
    const char *value;
    json_t *ignored;
    json_object_foreach(l->values, value, ignored)
    {
        if (n == NAMED_MAX || at + strlen(value) + 40 > SPY_HINT_MAX)
            break;
        at += (size_t)snprintf(hint + at, SPY_HINT_MAX - at, "%s %s", n++ ? "," : "", value);
    }
    if (n < all)
        snprintf(hint + at, SPY_HINT_MAX - at, " and %zu more", all - n);
}

static int describe_all_time(struct spy_store *store, struct listing *l, char *hint,
                             struct spy_err *err)
{
    char when[SPY_TIME_TEXT];
    struct spy_select all = {.until_ns = UINT64_MAX};
    int r = spy_store_processes(store, &all, note_process, l, err);
    if (r < 0)
        return r;
    spy_time_print(l->last_ns, when);
    if (l->last_ns)
        snprintf(hint, SPY_HINT_MAX,
                 "there is no data in that time; the latest data is from %s: set from and "
                 "until",
                 when);
    else
        snprintf(hint, SPY_HINT_MAX,
                 "nothing is stored yet: an agent pushes every 10 seconds, and /metrics counts "
                 "what came and what was refused");
    return 0;
}

int spy_query_not_found(struct spy_store *store, const struct spy_selector *s, char *hint,
                        struct spy_err *err)
{
    static const char *const pod_keys[3] = {SPY_LABEL_POD};
    char from[SPY_TIME_TEXT], until[SPY_TIME_TEXT];
    const char *const *keys = s->n_asked ? s->select.terms[0].keys : pod_keys;
    struct listing l = {.keys = keys, .values = json_object()};
    struct spy_select time = {
        .from_ns = s->select.from_ns, .until_ns = s->select.until_ns, .stop = s->select.stop};
    int r = spy_store_processes(store, &time, note_process, &l, err);
    if (r == 0 && json_object_size(l.values))
        print_values(&l, spy_selector_name(keys[0]), hint);
    else if (r == 0 && l.last_ns)
        snprintf(hint, SPY_HINT_MAX, "in that time nothing has a %s: GET /pods lists what there is",
                 spy_selector_name(keys[0]));
    else if (r == 0)
        r = describe_all_time(store, &l, hint, err);
    json_decref(l.values);
    if (r < 0)
        return r;
    spy_time_print(s->select.from_ns, from);
    spy_time_print(s->select.until_ns, until);
    return spy_err_set(err, SPY_ERR_NOTFOUND, 0, "nothing matches %.120s from %s until %s", s->text,
                       from, until);
}
