#include "collector/query/entry_group.h"
#include "collector/query/load.h"
#include "shared/base/mem.h"
#include "shared/formats/format.h"
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t n_profiles;

SPY_CLEANUP(filter_done, struct spy_filter, spy_filter_free)

// --- the Content-Security-Policy of each format: its own script and style by their hashes ---

enum { FORMATS_MAX = 32 };

static pthread_once_t policies_once = PTHREAD_ONCE_INIT;
static char policies[FORMATS_MAX][400]; // by index of spy_format_list; "": the strict one of http.h

// The hash of the text that an element holds (CSP Level 3, 6.7.3.2), or 'none'.
static void print_hash(const struct spy_embedded *e, char *out, size_t size)
{
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1 << 20);
    uint8_t digest[32];
    gnutls_datum_t raw = {digest, sizeof digest}, base64 = {0};
    snprintf(out, size, "'none'");
    if (!e->text)
        return;
    spy_buf_puts(&b, e->before);
    spy_buf_puts(&b, e->text);
    spy_buf_puts(&b, e->after);
    if (!b.failed && gnutls_hash_fast(GNUTLS_DIG_SHA256, b.data, b.len, digest) == 0 &&
        gnutls_base64_encode2(&raw, &base64) == 0)
        snprintf(out, size, "'sha256-%.*s'", (int)base64.size, (const char *)base64.data);
    gnutls_free(base64.data);
}

static void make_policies(void)
{
    size_t n;
    const struct spy_format *const *formats = spy_format_list(&n);
    for (size_t i = 0; i < n && i < FORMATS_MAX; i++) {
        char script[80], style[80];
        if (!formats[i]->script.text && !formats[i]->style.text)
            continue;
        print_hash(&formats[i]->script, script, sizeof script);
        print_hash(&formats[i]->style, style, sizeof style);
        snprintf(policies[i], sizeof policies[i],
                 "default-src 'none'; script-src %s; style-src %s; base-uri 'none'; "
                 "form-action 'none'; frame-ancestors 'self'",
                 script, style);
    }
}

const char *spy_query_policy(const struct spy_format *format)
{
    size_t n;
    const struct spy_format *const *formats = spy_format_list(&n);
    pthread_once(&policies_once, make_policies);
    for (size_t i = 0; i < n && i < FORMATS_MAX; i++)
        if (formats[i] == format && policies[i][0])
            return policies[i];
    return NULL;
}

// --- formats ---

static int choose_format(const struct spy_question *q, const struct spy_selector *s,
                         const struct spy_format **ret, char *hint, struct spy_err *err)
{
    bool browser = strstr(q->accept, "text/html") || strstr(q->accept, "image/svg+xml");
    const char *name = s->format ? s->format : browser ? "svg" : "json";
    *ret = spy_format_find(name);
    if (*ret)
        return 0;
    size_t n, at = (size_t)snprintf(hint, SPY_HINT_MAX, "known are");
    const struct spy_format *const *list = spy_format_list(&n);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(hint + at, SPY_HINT_MAX - at, "%s %s", i ? "," : "", list[i]->name);
    return spy_err_set(err, SPY_ERR_INVALID, 0, "unknown format '%.120s'", name);
}

// --- the data ---

static bool has_samples(const struct spy_profile *p)
{
    return spy_profile_n_samples(p) > 0;
}

// Reports why selected processes have no samples, if the agent said so.
static int report_query_problem(const struct spy_profile *p, const struct spy_selector *s,
                                char *hint, struct spy_err *err)
{
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const char *problem = spy_profile_series_label(p, i, SPY_LABEL_PROBLEM);
        if (!problem)
            continue;
        snprintf(hint, SPY_HINT_MAX, "the agent says: %.500s", problem);
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0, "%s is known, but has no samples", s->text);
    }
    return 0;
}

static int check_filter(const struct spy_profile *p, const struct spy_selector *s,
                        const struct spy_filter *f, char *hint, struct spy_err *err)
{
    uint32_t n = spy_profile_n_samples(p);
    for (uint32_t i = 0; i < n; i++)
        if (spy_filter_has(f, spy_profile_sample_at(p, i)))
            return 0;
    snprintf(hint, SPY_HINT_MAX,
             "there are samples, but thread, include and exclude leave none of them: "
             "format=collapsed without these shows the stacks, threads=1 the threads");
    return spy_err_set(err, SPY_ERR_NOTFOUND, 0, "no samples match %s", s->text);
}

// Reading may use five eighths of the memory, and the document's tree what is left then.
int spy_query_load(const struct spy_question *q, struct spy_selector *s, struct spy_profile **ret,
                   struct spy_filter **ret_filter, char *hint, struct spy_err *err)
{
    _cleanup_profile_ struct spy_profile *p = NULL;
    _cleanup_(filter_done) struct spy_filter *filter = NULL;
    s->select.memory = q->memory / 8 * 5;
    s->select.rows_max = q->rows_max;
    s->select.stop = s->filter.stop = s->view.stop = q->stop;
    int r = spy_load_selected(q, s, &p, err);
    if (r == SPY_ERR_LIMIT)
        snprintf(hint, SPY_HINT_MAX, "select fewer pods or a shorter time");
    if (r < 0)
        return r;
    size_t held = spy_profile_memory(p);
    s->view.memory = held < q->memory / 8 * 5 ? q->memory - held : q->memory / 8 * 3;
    if (!spy_profile_n_series(p))
        return spy_query_not_found(q->store, s, hint, err);
    if (!has_samples(p) && (r = report_query_problem(p, s, hint, err)) < 0)
        return r;
    r = spy_filter_new(&s->filter, p, &filter, err);
    if (r == 0 && has_samples(p))
        r = check_filter(p, s, filter, hint, err);
    if (r == 0 && s->by_entry)
        r = spy_entries_group(q, s, p, &filter, err);
    if (r < 0)
        return r;
    *ret = p;
    *ret_filter = filter;
    p = NULL;
    filter = NULL;
    return 0;
}

static int print_answer(const struct spy_profile *p, const struct spy_selector *s,
                        const struct spy_filter *filter, const struct spy_format *format,
                        struct spy_answer *a, struct spy_err *err)
{
    char title[300];
    struct spy_view view = s->view;
    snprintf(title, sizeof title, "podspy: %s", s->text);
    view.title = title;
    view.filter = filter;
    a->media_type = format->media_type;
    a->policy = spy_query_policy(format);
    return format->print(p, &view, a->body, err);
}

static int answer_profiles(const struct spy_question *q, struct spy_answer *a, struct spy_err *err)
{
    struct spy_selector s;
    const struct spy_format *format = NULL;
    _cleanup_profile_ struct spy_profile *p = NULL;
    _cleanup_(filter_done) struct spy_filter *filter = NULL;
    int r = spy_selector_parse(q->params, q->n_params, SPY_TAKES_FORMAT | SPY_TAKES_GROUP,
                               q->now_ns, &s, a->hint, err);
    if (r == 0)
        r = choose_format(q, &s, &format, a->hint, err);
    if (r == 0)
        r = spy_query_load(q, &s, &p, &filter, a->hint, err);
    return r < 0 ? r : print_answer(p, &s, filter, format, a, err);
}

const struct spy_query spy_query_profiles = {
    .path = "/profiles",
    .kind = "profile",
    .n_asked = &n_profiles,
    .answer = answer_profiles,
};
