// index.c - the pods and their links as a page of plain HTML.
#include "collector/query/pods.h"
#include "shared/base/text.h"
#include <string.h>

static const char *get_field(const json_t *pod, const char *key)
{
    const char *v = json_string_value(json_object_get(pod, key));
    return v ? v : "";
}

static void put_html(struct spy_buf *out, const char *name)
{
    _cleanup_buf_ struct spy_buf shown = SPY_BUF_INIT(1 << 20);
    spy_buf_shown(&shown, name); // who asks may sit at a terminal
    for (const char *text = spy_buf_str(&shown); *text; text++) {
        const char *as = *text == '&'   ? "&amp;"
                         : *text == '<' ? "&lt;"
                         : *text == '>' ? "&gt;"
                         : *text == '"' ? "&quot;"
                                        : NULL;
        if (as)
            spy_buf_puts(out, as);
        else
            spy_buf_putc(out, *text);
    }
}

static void put_percent(struct spy_buf *out, const char *text)
{
    for (; *text; text++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~", *text))
            spy_buf_putc(out, *text);
        else
            spy_buf_printf(out, "%%%02X", (unsigned char)*text);
}

static void put_link(struct spy_buf *out, const char *pod, const char *query, const char *text)
{
    spy_buf_puts(out, " <a href=\"/profiles?pod=");
    put_percent(out, pod);
    spy_buf_printf(out, "&amp;%s\">%s</a>", query, text);
}

static void put_pod(struct spy_buf *out, const json_t *pod)
{
    const char *name = get_field(pod, "pod"), *space = get_field(pod, "namespace");
    spy_buf_puts(out, "<li>");
    put_html(out, space);
    spy_buf_puts(out, *space ? "/" : "");
    put_html(out, *name ? name : "(no pod)");
    if (json_is_true(json_object_get(pod, "throttled")))
        spy_buf_puts(out, " <strong>throttled</strong>");
    if (*name) {
        put_link(out, name, "format=svg", "flamegraph");
        put_link(out, name, "format=svg&amp;idle=1", "with waiting threads");
        put_link(out, name, "format=speedscope", "speedscope");
        put_link(out, name, "format=collapsed", "collapsed");
    }
    spy_buf_puts(out, "</li>\n");
}

static int answer_index(const struct spy_question *q, struct spy_answer *a, struct spy_err *err)
{
    struct spy_selector s;
    json_t *pods;
    int r = spy_pods_collect(q, &s, a, &pods, err);
    if (r < 0)
        return r;
    spy_buf_puts(a->body,
                 "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                 "<title>podspy</title><meta name=\"viewport\" content=\"width=device-width\">"
                 "<meta name=\"color-scheme\" content=\"light dark\"></head><body>\n"
                 "<h1>podspy</h1>\n<p>Seen in the last hour, as <a href=\"/pods\">JSON</a>:</p>\n"
                 "<ul>\n");
    size_t i;
    json_t *pod;
    json_array_foreach(pods, i, pod) put_pod(a->body, pod);
    if (!json_array_size(pods))
        spy_buf_puts(a->body, "<li>Nothing yet. Agents push every 10 seconds.</li>\n");
    spy_buf_puts(a->body, "</ul>\n</body></html>\n");
    json_decref(pods);
    a->media_type = "text/html; charset=utf-8";
    return a->body->failed
               ? spy_err_set(err, a->body->failed, 0, "the page does not fit in its memory")
               : 0;
}

const struct spy_query spy_query_index = {
    .path = "/list",
    .n_asked = &spy_pods_n_asked,
    .answer = answer_index,
};

const struct spy_query spy_query_root = {
    .path = "/",
    .n_asked = &spy_pods_n_asked,
    .answer = answer_index,
};
