// diff.c - two selections compared: what grew and what shrank. Parameters that begin with "base."
// choose the base; what they leave open is as for the other side. How the answer is shown, and which
// states, is the same for both.
#include "collector/query/query.h"
#include "shared/base/mem.h"
#include "shared/base/thread.h"
#include "shared/formats/compare.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t n_diffs;
enum { PARAMS_MAX = 64, FUNCTIONS = 1000 }; // FUNCTIONS: of JSON, without max_nodes
static const char prefix[] = "base.";

SPY_CLEANUP(filter_done, struct spy_filter, spy_filter_free)

// One side: its own parameters, and what they select.
struct side {
    const char *name; // for messages
    struct spy_param params[PARAMS_MAX];
    struct spy_question question;
    struct spy_selector selector;
    struct spy_profile *profile; // owned
    char hint[SPY_HINT_MAX], text[400];
    struct spy_err err;
    int result;
};

static void free_sides(struct side **sides)
{
    for (int i = 0; *sides && i < 2; i++)
        spy_profile_free((*sides)[i].profile);
    free(*sides);
}

// --- parameters ---

static const char *strip_prefix(const char *name)
{
    size_t n = sizeof prefix - 1;
    return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

static bool is_time(const char *name)
{
    return !strcmp(name, "from") || !strcmp(name, "until");
}

// Whether the base has a value of its own for this parameter. from and until are one choice.
static bool has_own(const struct spy_question *q, const char *name)
{
    for (size_t i = 0; i < q->n_params; i++) {
        const char *own = strip_prefix(q->params[i].name);
        if (own && (!strcmp(own, name) || (is_time(own) && is_time(name))))
            return true;
    }
    return false;
}

static int fail_base(const char *name, struct spy_answer *a, struct spy_err *err)
{
    snprintf(a->hint, SPY_HINT_MAX,
             "base. stands before what chooses data, such as base.pod, base.from, base.until; "
             "the rest is the same for both sides");
    return name ? spy_err_set(err, SPY_ERR_INVALID, 0, "unknown parameter '%.120s'", name)
                : spy_err_set(err, SPY_ERR_INVALID, 0, "there is no base to compare with");
}

static int split_parameters(const struct spy_question *q, struct side *sides, struct spy_answer *a,
                            struct spy_err *err)
{
    size_t n[2] = {0, 0};
    bool any = false;
    if (q->n_params > PARAMS_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "more than %d parameters", PARAMS_MAX);
    for (size_t i = 0; i < q->n_params; i++) {
        const struct spy_param *p = &q->params[i];
        const char *own = strip_prefix(p->name);
        if (own && !spy_selector_chooses(own))
            return fail_base(p->name, a, err);
        any = any || own;
        if (own)
            sides[0].params[n[0]++] = (struct spy_param){own, p->value};
        else
            sides[1].params[n[1]++] = *p;
        if (!own && !(spy_selector_chooses(p->name) && has_own(q, p->name)))
            sides[0].params[n[0]++] = *p;
    }
    for (int k = 0; k < 2; k++) {
        sides[k].name = k ? "what is compared" : "the base";
        sides[k].question = *q;
        sides[k].question.params = sides[k].params;
        sides[k].question.n_params = n[k];
        sides[k].question.memory = q->memory / 2;
        sides[k].question.rows_max = q->rows_max / 2;
        sides[k].question.workers = (q->workers + 1) / 2;
    }
    return any ? 0 : fail_base(NULL, a, err);
}

static bool is_json(const char *accept, const struct spy_selector *s)
{
    bool browser = strstr(accept, "text/html") || strstr(accept, "image/svg+xml");
    return !strcmp(s->format ? s->format : browser ? "svg" : "json", "json");
}

static int check_shown(const struct spy_selector *s, struct spy_answer *a, struct spy_err *err)
{
    const char *wrong = s->view.threads                          ? "threads=1"
                        : s->view.states                         ? "states=1"
                        : s->view.processes == SPY_PROCESSES_YES ? "processes=1"
                                                                 : NULL;
    if (wrong) {
        snprintf(a->hint, SPY_HINT_MAX, "a comparison is by function; thread= selects threads");
        return spy_err_set(err, SPY_ERR_INVALID, 0, "%s cannot be compared", wrong);
    }
    if (s->format && strcmp(s->format, "svg") != 0 && strcmp(s->format, "json") != 0) {
        snprintf(a->hint, SPY_HINT_MAX, "known are svg, json");
        return spy_err_set(err, SPY_ERR_INVALID, 0, "unknown format '%.120s'", s->format);
    }
    return 0;
}

// --- data ---

static void print_side(struct side *s)
{
    char from[SPY_TIME_TEXT], until[SPY_TIME_TEXT];
    spy_time_print(s->selector.select.from_ns, from);
    spy_time_print(s->selector.select.until_ns, until);
    snprintf(s->text, sizeof s->text, "%s from %s until %s", s->selector.text, from, until);
}

static void *load_side(void *arg)
{
    struct side *s = arg;
    _cleanup_(filter_done) struct spy_filter *filter = NULL;
    s->result = spy_query_load(&s->question, &s->selector, &s->profile, &filter, s->hint, &s->err);
    return NULL;
}

// Both at once.
static int load_sides(struct side *sides, struct spy_answer *a, struct spy_err *err)
{
    pthread_t thread;
    bool started = spy_thread_start(&thread, load_side, &sides[0]) == 0;
    load_side(&sides[1]);
    if (started)
        pthread_join(thread, NULL);
    else
        load_side(&sides[0]);
    for (int i = 0; i < 2; i++) {
        if (sides[i].result == 0)
            continue;
        snprintf(a->hint, SPY_HINT_MAX, "%s", sides[i].hint);
        return spy_err_set(err, sides[i].result, sides[i].err.sys, "%s: %s", sides[i].name,
                           sides[i].err.msg);
    }
    return 0;
}

// Frees the profiles of the sides on the way.
static int merge_sides(struct side *sides, struct spy_profile **ret, struct spy_err *err)
{
    _cleanup_profile_ struct spy_profile *both = spy_profile_new();
    uint32_t series;
    int r = both ? spy_profile_series(both, NULL, 0, &series) : SPY_ERR_NOMEM;
    for (int i = 0; i < 2 && r == 0; i++) {
        r = spy_profile_merge(both, sides[i].profile, series, i == 1);
        spy_profile_free(spy_steal(&sides[i].profile));
    }
    if (r < 0)
        return spy_err_set(err, r, 0, "the two cannot be held at once: %s", spy_code_name(r));
    *ret = spy_steal(&both);
    return 0;
}

// --- the answer ---

static int print_diff(const struct spy_profile *p, const struct side *sides, struct spy_answer *a,
                      struct spy_view *view, struct spy_err *err)
{
    char notes[900], title[300];
    const struct spy_selector *s = &sides[1].selector;
    const struct spy_compared what = {.base = sides[0].text, .compared = sides[1].text};
    const struct spy_format *svg = spy_format_find("svg");
    if (is_json(sides[1].question.accept, s)) {
        a->media_type = "application/json";
        return spy_compare_json(p, view, &what, view->max_nodes ? view->max_nodes : FUNCTIONS,
                                a->body, err);
    }
    snprintf(title, sizeof title, "podspy: %s compared", s->text);
    snprintf(notes, sizeof notes, "Compared: %s\nBase: %s\n", what.compared, what.base);
    view->title = title;
    view->notes = notes;
    a->media_type = svg->media_type;
    a->policy = spy_query_policy(svg);
    return svg->print(p, view, a->body, err);
}

static int answer_sides(const struct spy_question *q, struct side *sides, struct spy_answer *a,
                        struct spy_err *err)
{
    _cleanup_profile_ struct spy_profile *both = NULL;
    _cleanup_(filter_done) struct spy_filter *filter = NULL;
    int r = split_parameters(q, sides, a, err);
    for (int i = 0; i < 2 && r == 0; i++)
        r = spy_selector_parse(sides[i].params, sides[i].question.n_params,
                               SPY_TAKES_FORMAT | SPY_TAKES_GROUP, q->now_ns, &sides[i].selector,
                               a->hint, err);
    sides[0].selector.entries_alone = sides[1].selector.entries_alone =
        is_json(q->accept, &sides[1].selector);
    if (r == 0)
        r = check_shown(&sides[1].selector, a, err);
    if (r == 0)
        r = load_sides(sides, a, err);
    if (r < 0)
        return r;
    print_side(&sides[0]);
    print_side(&sides[1]);
    struct spy_view view = sides[1].selector.view;
    r = merge_sides(sides, &both, err);
    if (r == 0)
        r = spy_filter_new(&sides[1].selector.filter, both, &filter, err);
    if (r < 0)
        return r;
    size_t held = spy_profile_memory(both);
    view.memory = held < q->memory / 8 * 5 ? q->memory - held : q->memory / 8 * 3;
    view.stop = q->stop;
    view.compares = true;
    view.processes = SPY_PROCESSES_NO;
    view.filter = filter;
    return print_diff(both, sides, a, &view, err);
}

static int answer_diff(const struct spy_question *q, struct spy_answer *a, struct spy_err *err)
{
    _cleanup_(free_sides) struct side *sides = calloc(2, sizeof *sides);
    return sides ? answer_sides(q, sides, a, err) : spy_err_nomem(err);
}

const struct spy_query spy_query_diff = {
    .path = "/profiles/diff",
    .kind = "diff",
    .n_asked = &n_diffs,
    .answer = answer_diff,
};
