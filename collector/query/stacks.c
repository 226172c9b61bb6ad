// stacks.c - what each thread was doing, or waiting for, in the latest window of its process.
#include "collector/query/query.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include "shared/formats/format.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t n_stacks;
enum {
    PROCESSES = 100, // the latest ones
    STACKS = 5,      // of a thread, without max_nodes
};

SPY_CLEANUP(filter_done, struct spy_filter, spy_filter_free)

// Processes that are shown, as the store lists them.
struct latest {
    struct latest_process {
        char *labels; // JSON; owned
        uint64_t last_ns;
    } list[PROCESSES];
    size_t n, in_all;
    bool failed;
};

static void free_latest(struct latest *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->list[i].labels);
}

static void note_latest_window(void *arg, const struct spy_store_process *p)
{
    struct latest *l = arg;
    if (l->in_all++ >= PROCESSES)
        return;
    char *labels = strdup(p->labels_json);
    l->failed = l->failed || !labels;
    if (labels)
        l->list[l->n++] = (struct latest_process){labels, p->last_ns};
}

// --- one process: the instant just before its latest window ends ---

// A '*' in a label is a pattern here; is_labelled leaves out what it matches beside itself.
static void select_labels(json_t *labels, uint64_t last_ns, struct spy_select *ret)
{
    static const char *const absent[] = {SPY_LABEL_SAMPLE_TYPE, SPY_LABEL_PROBLEM};
    const char *key;
    json_t *value;
    ret->n = 0;
    ret->from_ns = last_ns ? last_ns - 1 : 0;
    ret->until_ns = last_ns + 1;
    json_object_foreach(labels, key, value) if (ret->n < SPY_SELECT_MAX &&
                                                *json_string_value(value)) ret->terms[ret->n++] =
        (struct spy_select_term){.keys = {key}, .value = json_string_value(value)};
    for (size_t i = 0; i < SPY_COUNT(absent) && ret->n < SPY_SELECT_MAX; i++)
        if (!json_object_get(labels, absent[i]))
            ret->terms[ret->n++] = (struct spy_select_term){.keys = {absent[i]}, .value = NULL};
}

static bool is_labelled(const struct spy_profile *p, uint32_t series, json_t *labels)
{
    const char *key;
    json_t *value;
    if (spy_profile_series_get(p, series)->n_labels != json_object_size(labels))
        return false;
    json_object_foreach(labels, key, value)
    {
        const char *has = spy_profile_series_label(p, series, key);
        if (!has || strcmp(has, json_string_value(value)) != 0)
            return false;
    }
    return true;
}

static uint32_t find_series(const struct spy_profile *p, json_t *labels)
{
    uint32_t n = spy_profile_n_series(p);
    for (uint32_t i = 0; i < n; i++)
        if (is_labelled(p, i, labels))
            return i;
    return n;
}

// Samples of one series that are shown, thread by thread, the heaviest stack first.
struct chosen {
    const struct spy_profile *profile;
    const struct spy_sample **list;
    size_t n;
};

static int compare_thread_samples(const void *a, const void *b, void *profile)
{
    const struct spy_sample *x = *(const struct spy_sample *const *)a,
                            *y = *(const struct spy_sample *const *)b;
    uint64_t tid = spy_profile_thread_at(profile, x->thread)->tid,
             other = spy_profile_thread_at(profile, y->thread)->tid;
    if (tid != other)
        return tid < other ? -1 : 1;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    if (x->stack != y->stack)
        return x->stack < y->stack ? -1 : 1;
    return x->state < y->state ? -1 : x->state > y->state;
}

static int choose_samples(const struct spy_profile *p, uint32_t series, const struct spy_view *view,
                          struct chosen *ret)
{
    uint32_t all = spy_profile_n_samples(p);
    *ret = (struct chosen){.profile = p, .list = calloc(all + 1u, sizeof *ret->list)};
    if (!ret->list)
        return SPY_ERR_NOMEM;
    for (uint32_t i = 0; i < all; i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        if (s->series == series && spy_view_has(view, s))
            ret->list[ret->n++] = s;
    }
    qsort_r(ret->list, ret->n, sizeof *ret->list, compare_thread_samples, (void *)(uintptr_t)p);
    return 0;
}

// --- counts ---

struct tally {
    uint64_t samples, activities[SPY_ACTIVITIES], holds, waits, collects;
};

static void add_to_tally(struct tally *t, const struct spy_sample *s)
{
    uint64_t *activity = &t->activities[spy_state_activity(s->state)];
    t->samples = spy_add_sat(t->samples, s->count);
    *activity = spy_add_sat(*activity, s->count);
    if (s->state & SPY_STATE_GIL_HOLDS)
        t->holds = spy_add_sat(t->holds, s->count);
    if (s->state & SPY_STATE_GIL_WAITS)
        t->waits = spy_add_sat(t->waits, s->count);
    if (s->state & SPY_STATE_GC)
        t->collects = spy_add_sat(t->collects, s->count);
}

// What a stack or a thread is: a run of the list, with its sums.
struct run {
    size_t first, n;
    struct tally tally;
};

static struct run take_run(const struct chosen *c, size_t first, bool by_stack)
{
    struct run r = {.first = first};
    const struct spy_sample *s = c->list[first];
    for (size_t i = first; i < c->n && c->list[i]->thread == s->thread &&
                           (!by_stack || c->list[i]->stack == s->stack);
         i++, r.n++)
        add_to_tally(&r.tally, c->list[i]);
    return r;
}

static int compare_runs(const void *a, const void *b)
{
    const struct run *x = a, *y = b;
    if (x->tally.samples != y->tally.samples)
        return x->tally.samples < y->tally.samples ? 1 : -1;
    return x->first < y->first ? -1 : 1;
}

// The stacks of a thread, the heaviest first.
static struct run *list_stacks(const struct chosen *c, const struct run *thread, size_t *ret_n)
{
    struct run *list = calloc(thread->n + 1, sizeof *list);
    *ret_n = 0;
    for (size_t i = 0; list && i < thread->n; i += list[(*ret_n)++].n)
        list[*ret_n] = take_run(c, thread->first + i, true);
    if (list)
        qsort(list, *ret_n, sizeof *list, compare_runs);
    return list;
}

// --- as JSON and as text ---

struct printing {
    struct spy_buf *out;
    bool text;
    size_t stacks_max;
    const struct spy_view *view;
    const struct chosen *chosen;
};

static void put_text_string(struct spy_buf *out, const char *s)
{
    spy_buf_putc(out, '"');
    spy_buf_json(out, s, strlen(s));
    spy_buf_putc(out, '"');
}

static void put_tally_json(const struct tally *t, struct spy_buf *out)
{
    spy_buf_printf(out, "\"samples\":%llu,\"states\":{", (unsigned long long)t->samples);
    for (int i = 0; i < SPY_ACTIVITIES; i++)
        spy_buf_printf(out, "%s\"%s\":%llu", i ? "," : "", spy_activity_names[i],
                       (unsigned long long)t->activities[i]);
    spy_buf_printf(out, "},\"gil\":{\"holds\":%llu,\"waits\":%llu},\"gc\":%llu",
                   (unsigned long long)t->holds, (unsigned long long)t->waits,
                   (unsigned long long)t->collects);
}

static void put_tally_text(const struct tally *t, struct spy_buf *out)
{
    static const char *const words[SPY_ACTIVITIES] = {"waiting", "running", "ready, without a CPU"};
    const char *comma = "";
    for (int i = 0; i < SPY_ACTIVITIES; i++)
        if (t->activities[i]) {
            spy_buf_printf(out, "%s%s %.0f %%", comma, words[i],
                           100.0 * (double)t->activities[i] / (double)t->samples);
            comma = ", ";
        }
    const struct {
        uint64_t n;
        const char *what;
    } facts[] = {{t->holds, "holds the GIL"},
                 {t->waits, "waits for the GIL"},
                 {t->collects, "collects garbage"}};
    for (size_t i = 0; i < SPY_COUNT(facts); i++)
        if (facts[i].n)
            spy_buf_printf(out, ", %s %.0f %%", facts[i].what,
                           100.0 * (double)facts[i].n / (double)t->samples);
}

static void put_stack_frame(const struct printing *pr, uint32_t frame, bool first)
{
    const struct spy_profile *p = pr->chosen->profile;
    const struct spy_frame *f = spy_profile_frame_at(p, frame);
    const struct spy_function *fn = spy_profile_function_at(p, f->function);
    const char *name = spy_profile_text(p, fn->name), *file = spy_profile_text(p, fn->filename);
    uint32_t line = spy_view_line(p, pr->view, f);
    if (!pr->text) {
        spy_buf_puts(pr->out, first ? "{\"name\":" : ",{\"name\":");
        put_text_string(pr->out, name);
        spy_buf_puts(pr->out, ",\"file\":");
        put_text_string(pr->out, file);
        spy_buf_printf(pr->out, ",\"line\":%u}", line);
        return;
    }
    spy_buf_puts(pr->out, "        ");
    spy_buf_shown(pr->out, name);
    if (*file) {
        spy_buf_puts(pr->out, " (");
        spy_buf_shown(pr->out, spy_short_filename(file));
        if (line)
            spy_buf_printf(pr->out, ":%u", line);
        spy_buf_putc(pr->out, ')');
    }
    spy_buf_putc(pr->out, '\n');
}

static int put_stack(const struct printing *pr, const struct run *r, bool first)
{
    struct spy_view_frames frames = {0};
    int x =
        spy_view_frames(pr->chosen->profile, pr->view, pr->chosen->list[r->first]->stack, &frames);
    if (pr->text) {
        spy_buf_printf(pr->out, "    %llu samples: ", (unsigned long long)r->tally.samples);
        put_tally_text(&r->tally, pr->out);
        spy_buf_putc(pr->out, '\n');
    } else {
        spy_buf_puts(pr->out, first ? "{" : ",{");
        put_tally_json(&r->tally, pr->out);
        spy_buf_puts(pr->out, ",\"frames\":[");
    }
    for (size_t i = 0; i < frames.n; i++)
        put_stack_frame(pr, frames.list[i], i == 0);
    if (!pr->text)
        spy_buf_puts(pr->out, "]}");
    else if (!frames.n)
        spy_buf_puts(pr->out, "        [no frames]\n");
    free(frames.list);
    return x;
}

static void put_thread_head(const struct printing *pr, const struct run *thread, bool first)
{
    const struct spy_profile *p = pr->chosen->profile;
    const struct spy_thread *t = spy_profile_thread_at(p, pr->chosen->list[thread->first]->thread);
    const char *name = spy_profile_text(p, t->name);
    if (pr->text) {
        spy_buf_printf(pr->out, "  Thread %llu \"", (unsigned long long)t->tid);
        spy_buf_shown(pr->out, name);
        spy_buf_puts(pr->out, "\": ");
        put_tally_text(&thread->tally, pr->out);
        spy_buf_putc(pr->out, '\n');
        return;
    }
    spy_buf_printf(pr->out, "%s{\"tid\":%llu,\"name\":", first ? "" : ",",
                   (unsigned long long)t->tid);
    put_text_string(pr->out, name);
    spy_buf_putc(pr->out, ',');
    put_tally_json(&thread->tally, pr->out);
    spy_buf_puts(pr->out, ",\"stacks\":[");
}

static int put_thread(const struct printing *pr, const struct run *thread, bool first)
{
    size_t n;
    int r = 0;
    uint64_t other = 0;
    _cleanup_free_ struct run *stacks = list_stacks(pr->chosen, thread, &n);
    if (!stacks)
        return SPY_ERR_NOMEM;
    put_thread_head(pr, thread, first);
    for (size_t i = 0; i < n && r == 0; i++)
        if (i < pr->stacks_max)
            r = put_stack(pr, &stacks[i], i == 0);
        else
            other = spy_add_sat(other, stacks[i].tally.samples);
    if (!pr->text)
        spy_buf_printf(pr->out, "],\"other_samples\":%llu}", (unsigned long long)other);
    else if (other)
        spy_buf_printf(pr->out, "    %llu samples of other stacks\n", (unsigned long long)other);
    return r;
}

static void put_process_text(const struct spy_profile *p, uint32_t series, const char *when,
                             struct spy_buf *out)
{
    static const char *const keys[] = {SPY_LABEL_PID, SPY_LABEL_POD, SPY_LABEL_CONTAINER,
                                       SPY_LABEL_COMMAND};
    static const char *const words[] = {"Process ", " of ", ", container ", ": "};
    for (size_t i = 0; i < SPY_COUNT(keys); i++) {
        const char *value = spy_profile_series_label(p, series, keys[i]);
        if (!value && i)
            continue;
        spy_buf_puts(out, words[i]);
        spy_buf_shown(out, value ? value : "?");
    }
    spy_buf_printf(out, " (window until %s)\n", when);
}

static void put_stacks_head(const struct printing *pr, json_t *labels, uint32_t series, bool first)
{
    const struct spy_profile *p = pr->chosen->profile;
    const struct spy_series *s = spy_profile_series_get(p, series);
    char from[SPY_TIME_TEXT], until[SPY_TIME_TEXT];
    const char *key;
    json_t *value;
    spy_time_print(s->start_ns, from);
    spy_time_print(spy_add_sat(s->start_ns, s->duration_ns), until);
    if (pr->text) {
        put_process_text(p, series, until, pr->out);
        return;
    }
    spy_buf_puts(pr->out, first ? "{\"labels\":{" : ",{\"labels\":{");
    const char *comma = "";
    json_object_foreach(labels, key, value)
    {
        spy_buf_puts(pr->out, comma);
        put_text_string(pr->out, key);
        spy_buf_putc(pr->out, ':');
        put_text_string(pr->out, json_string_value(value));
        comma = ",";
    }
    spy_buf_printf(pr->out, "},\"from\":\"%s\",\"until\":\"%s\",\"period_ns\":%llu,\"threads\":[",
                   from, until, (unsigned long long)s->period_ns);
}

static int put_process_stacks(struct printing *pr, json_t *labels, uint32_t series, bool first)
{
    int r = 0;
    const struct chosen *c = pr->chosen;
    const char *problem = spy_profile_series_label(c->profile, series, SPY_LABEL_PROBLEM);
    put_stacks_head(pr, labels, series, first);
    for (size_t i = 0; i < c->n && r == 0;) {
        struct run thread = take_run(c, i, false);
        r = put_thread(pr, &thread, i == 0);
        i += thread.n;
    }
    if (!pr->text) {
        spy_buf_puts(pr->out, "],\"problem\":");
        if (problem)
            put_text_string(pr->out, problem);
        else
            spy_buf_puts(pr->out, "null");
        spy_buf_putc(pr->out, '}');
    } else if (problem) {
        spy_buf_puts(pr->out, "  The agent says: ");
        spy_buf_shown(pr->out, problem);
        spy_buf_putc(pr->out, '\n');
    }
    return r < 0 ? r : pr->out->failed;
}

// --- the answer ---

static int query_process(const struct spy_question *q, const struct spy_selector *s,
                         const struct latest_process *process, json_t *labels,
                         struct spy_profile *into, struct spy_err *err)
{
    struct spy_select select = {
        .rows_max = q->rows_max, .memory = q->memory / 2, .stop = s->select.stop};
    select_labels(labels, process->last_ns, &select);
    return spy_store_query(q->store, &select, into, err);
}

static int answer_process(const struct spy_question *q, const struct spy_selector *s,
                          const struct latest_process *process, struct printing *pr, bool first,
                          struct spy_err *err)
{
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    _cleanup_(filter_done) struct spy_filter *filter = NULL;
    struct spy_view view = s->view;
    struct chosen chosen = {0};
    json_t *labels = json_loads(process->labels, 0, NULL);
    int r = p && labels ? query_process(q, s, process, labels, p, err) : spy_err_nomem(err);
    if (r == 0)
        r = spy_filter_new(&s->filter, p, &filter, err);
    view.filter = filter;
    uint32_t series = r == 0 ? find_series(p, labels) : 0;
    if (r == 0)
        r = choose_samples(p, series, &view, &chosen);
    pr->chosen = &chosen;
    pr->view = &view;
    if (r == 0 && series < spy_profile_n_series(p)) // else it has expired meanwhile
        r = put_process_stacks(pr, labels, series, first);
    free(chosen.list);
    json_decref(labels);
    return r < 0 && err && !err->msg[0] ? spy_err_set(err, r, 0, "%s", spy_code_name(r)) : r;
}

static int print_latest(const struct spy_question *q, const struct spy_selector *s,
                        const struct latest *l, struct printing *pr, struct spy_err *err)
{
    int r = 0;
    if (!pr->text)
        spy_buf_printf(pr->out, "{\"processes_in_all\":%zu,\"processes\":[", l->in_all);
    size_t begin = pr->out->len;
    for (size_t i = 0; i < l->n && r == 0; i++) {
        if (pr->text && pr->out->len > begin)
            spy_buf_putc(pr->out, '\n');
        r = answer_process(q, s, &l->list[i], pr, pr->out->len == begin, err);
    }
    if (!pr->text)
        spy_buf_puts(pr->out, "]}\n");
    else if (l->in_all > l->n)
        spy_buf_printf(pr->out, "\n%zu more processes: narrow the selection.\n", l->in_all - l->n);
    return r < 0 || !pr->out->failed
               ? r
               : spy_err_set(err, pr->out->failed, 0, "the answer does not fit in its memory");
}

static bool has_parameter(const struct spy_question *q, const char *name)
{
    for (size_t i = 0; i < q->n_params; i++)
        if (!strcmp(q->params[i].name, name))
            return true;
    return false;
}

static int check_stacks_format(const struct spy_selector *s, struct spy_answer *a,
                               struct spy_err *err)
{
    if (!s->format || !strcmp(s->format, "json") || !strcmp(s->format, "text"))
        return 0;
    snprintf(a->hint, SPY_HINT_MAX, "known are json, text");
    return spy_err_set(err, SPY_ERR_INVALID, 0, "unknown format '%.120s'", s->format);
}

static int answer_stacks(const struct spy_question *q, struct spy_answer *a, struct spy_err *err)
{
    struct spy_selector s;
    _cleanup_(free_latest) struct latest latest = {0};
    int r =
        spy_selector_parse(q->params, q->n_params, SPY_TAKES_FORMAT, q->now_ns, &s, a->hint, err);
    if (r == 0)
        r = check_stacks_format(&s, a, err);
    if (r < 0)
        return r;
    s.select.stop = s.filter.stop = s.view.stop = q->stop;
    if (!has_parameter(q, "idle"))
        s.view.idle = true; // what a thread waits for is the question here
    r = spy_store_processes(q->store, &s.select, note_latest_window, &latest, err);
    if (r == 0 && latest.failed)
        r = spy_err_nomem(err);
    if (r == 0 && !latest.n)
        r = spy_query_not_found(q->store, &s, a->hint, err);
    if (r < 0)
        return r;
    struct printing pr = {.out = a->body,
                          .text = s.format && !strcmp(s.format, "text"),
                          .stacks_max = s.view.max_nodes ? s.view.max_nodes : STACKS};
    a->media_type = pr.text ? "text/plain; charset=utf-8" : "application/json";
    return print_latest(q, &s, &latest, &pr, err);
}

const struct spy_query spy_query_stacks = {
    .path = "/stacks",
    .kind = "stacks",
    .n_asked = &n_stacks,
    .answer = answer_stacks,
};
