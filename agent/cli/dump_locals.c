#include "agent/cli/dump_locals.h"
#include "shared/base/clock.h"
#include "shared/base/text.h"
#include <string.h>

int spy_dump_locals_begin(struct spy_dump_locals *l, const struct spy_target *t,
                          const struct spy_py_runtime *rt, uint64_t deadline_ns)
{
    if (!l->level)
        return 0;
    l->at = 0;
    l->late = false;
    l->deadline_ns = deadline_ns;
    l->values =
        spy_py_values_new(t, &rt->layout, (struct spy_py_value_options){l->level, l->redact});
    return l->values ? 0 : SPY_ERR_NOMEM;
}

void spy_dump_locals_end(struct spy_dump_locals *l)
{
    spy_py_values_free(l->values);
    l->values = NULL;
}

void spy_dump_locals_done(struct spy_dump_locals *l)
{
    spy_dump_locals_end(l);
    spy_py_locals_done(&l->locals);
}

static bool is_hold_over(struct spy_dump_locals *l)
{
    l->late = l->late || (l->deadline_ns && spy_clock_mono_ns() > l->deadline_ns);
    return l->late;
}

// False: this frame's variables could not be read.
static bool read_locals(struct spy_dump_locals *l, struct spy_python *py,
                        const struct spy_py_thread *th, size_t i)
{
    return l->values && !is_hold_over(l) && spy_python_locals(py, th, i, &l->at, &l->locals) == 0;
}

// What other threads change at this moment may need another try; the text is then "?".
static void put_local_value(struct spy_dump_locals *l, size_t k, struct spy_buf *out)
{
    const char *name = spy_py_local_name(&l->locals, k);
    if (is_hold_over(l) || spy_py_value_text(l->values, name, l->locals.list[k].value, out) < 0)
        spy_buf_putc(out, '?');
}

static void put_variables(struct spy_dump_locals *l, bool arguments, struct spy_buf *out)
{
    const char *title = arguments ? "        Arguments:\n" : "        Locals:\n";
    for (size_t k = 0; k < l->locals.n; k++) {
        if (l->locals.list[k].is_argument != arguments)
            continue;
        spy_buf_puts(out, title);
        title = "";
        spy_buf_puts(out, "            ");
        spy_buf_shown(out, spy_py_local_name(&l->locals, k));
        spy_buf_puts(out, l->locals.list[k].is_free   ? " (free): "
                          : l->locals.list[k].is_cell ? " (cell): "
                                                      : ": ");
        put_local_value(l, k, out);
        spy_buf_putc(out, '\n');
    }
}

void spy_dump_locals_text(struct spy_dump_locals *l, struct spy_python *py,
                          const struct spy_py_thread *th, size_t i, struct spy_buf *out)
{
    bool was_late = l->late;
    if (!l->level)
        return;
    if (read_locals(l, py, th, i)) {
        put_variables(l, true, out);
        put_variables(l, false, out);
        if (l->locals.truncated)
            spy_buf_puts(out, "            (more are left out)\n");
    } else if (!l->late) {
        spy_buf_puts(out, "        (its variables could not be read)\n");
    }
    if (l->late && !was_late)
        spy_buf_printf(out, "        (no more values: a thread is held for %d ms at most)\n",
                       SPY_DUMP_HOLD_MS);
}

void spy_dump_locals_json(struct spy_dump_locals *l, struct spy_python *py,
                          const struct spy_py_thread *th, size_t i, struct spy_buf *out)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(64 << 10);
    if (!l->level || !read_locals(l, py, th, i)) {
        spy_buf_puts(out, "null");
        return;
    }
    spy_buf_putc(out, '[');
    for (size_t k = 0; k < l->locals.n; k++) {
        const struct spy_py_local *local = &l->locals.list[k];
        const char *name = spy_py_local_name(&l->locals, k);
        spy_buf_reset(&text);
        put_local_value(l, k, &text);
        spy_buf_puts(out, k ? ",\n          {\"name\": \"" : "\n          {\"name\": \"");
        spy_buf_json(out, name, strlen(name));
        spy_buf_printf(out,
                       "\", \"addr\": %llu, \"arg\": %s, \"cell\": %s, \"free\": %s, \"repr\": \"",
                       (unsigned long long)local->value, local->is_argument ? "true" : "false",
                       local->is_cell ? "true" : "false", local->is_free ? "true" : "false");
        spy_buf_json(out, spy_buf_str(&text), text.len);
        spy_buf_puts(out, "\"}");
    }
    spy_buf_puts(out, l->locals.n ? "\n        ]" : "]");
}
