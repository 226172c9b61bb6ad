// problems.h - what spy_discover_explain tells, as JSON objects separated by commas.
#pragma once
#include "agent/discover/discover.h"
#include <string.h>

static inline void put_text(struct spy_buf *out, const char *key, const char *value)
{
    spy_buf_printf(out, "\"%s\":\"", key);
    spy_buf_json(out, value, strlen(value));
    spy_buf_puts(out, "\",");
}

static inline void put_problem(void *arg, const struct spy_problem *p)
{
    struct spy_buf *out = arg;
    spy_buf_puts(out, out->len ? ",{" : "{");
    put_text(out, "pod", p->place.pod);
    put_text(out, "namespace", p->place.namespace_name);
    put_text(out, "container", p->place.container);
    spy_buf_printf(out, "\"pid\":%d,\"problem\":\"", (int)p->pid);
    spy_buf_json(out, p->text, strlen(p->text));
    spy_buf_puts(out, "\"}");
}

static inline void put_problems(struct spy_buf *out, const struct spy_discover *d)
{
    spy_discover_explain(d, put_problem, out);
}
