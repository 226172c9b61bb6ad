// What test_values.py asks of objects.h, locals.h and value.h.
//     value_probe objects MAJOR MINOR        prints the offsets: "field value" lines; where stdin has
//                                            the bytes of a _PyRuntime, of the row they make
//     value_probe locals PID LEVEL [redact]  (or the path of a core file) prints the variables of every frame as JSON, a thread a
//                                            line: {"ident": 1, "frames": [{"name", "locals":
//                                            [{"name", "addr", "arg", "cell", "free", "repr"}]}]}
//     value_probe secrets NAME...            prints those that look like secrets
#include "agent/python/locals.h"
#include "agent/python/objects.h"
#include "agent/python/python.h"
#include "agent/python/value.h"
#include "agent/target/core.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// clang-format off
#define FIELDS(F) \
    F(frame_locals) F(co_argcount) F(co_kwonlyargcount) F(co_varnames) F(co_cellvars) F(co_freevars) \
    F(co_localsplusnames) F(co_localspluskinds) F(tp_name) F(tp_basicsize) F(tp_itemsize) F(tp_repr) F(tp_flags) \
    F(tp_members) F(tp_base) F(tp_dict) F(tp_dictoffset) F(ht_qualname) F(ht_cached_keys) F(int_tag) \
    F(int_digits) F(short_value) F(float_value) F(complex_value) F(cell_value) F(unicode_length) \
    F(unicode_data) F(list_items) F(tuple_items) F(dict_mask) F(dict_table) F(dict_keys) F(dict_values) \
    F(set_mask) F(set_table) F(slice_start) F(exception_args) F(function_name) F(defaultdict_factory)
// clang-format on

static int print_objects(char **argv)
{
    const struct spy_py_layout *row = spy_py_layout_find((unsigned)strtoul(argv[2], NULL, 10),
                                                         (unsigned)strtoul(argv[3], NULL, 10));
    uint8_t bytes[SPY_PY_DEBUG_OFFSETS_SIZE];
    struct spy_py_objects o;
    if (!row)
        return 3;
    struct spy_py_layout l = *row;
    size_t n = fread(bytes, 1, sizeof bytes, stdin);
    if (n == 1)
        spy_py_layout_trace_refs(&l);
    else if (n && spy_py_layout_apply(&l, bytes, n) < 0)
        return 4;
    spy_py_objects_of(&l, &o);
#define PRINT(field) printf(#field " %u\n", (unsigned)o.field);
    FIELDS(PRINT)
    return 0;
}

static int print_secrets(char **argv)
{
    for (size_t i = 2; argv[i]; i++)
        if (spy_py_name_is_secret(argv[i]))
            printf("%s\n", argv[i]);
    return 0;
}

static void put_json(const char *text, struct spy_buf *out)
{
    spy_buf_putc(out, '"');
    spy_buf_json(out, text, strlen(text));
    spy_buf_putc(out, '"');
}

struct probe {
    struct spy_py_values *values;
    struct spy_py_locals locals;
    struct spy_buf out, text;
};

static void put_local(struct probe *p, size_t i)
{
    const struct spy_py_local *local = &p->locals.list[i];
    const char *name = spy_py_local_name(&p->locals, i);
    spy_buf_reset(&p->text);
    int r = spy_py_value_text(p->values, name, local->value, &p->text);
    spy_buf_puts(&p->out, i ? ", {\"name\": " : "{\"name\": ");
    put_json(name, &p->out);
    spy_buf_printf(&p->out, ", \"addr\": %llu, \"arg\": %s, \"cell\": %s, \"free\": %s, \"repr\": ",
                   (unsigned long long)local->value, local->is_argument ? "true" : "false",
                   local->is_cell ? "true" : "false", local->is_free ? "true" : "false");
    put_json(r < 0 ? spy_code_name(r) : spy_buf_str(&p->text), &p->out);
    spy_buf_puts(&p->out, "}");
}

static void put_frame(struct probe *p, const char *name, bool first)
{
    spy_buf_puts(&p->out, first ? "{\"name\": " : ", {\"name\": ");
    put_json(name, &p->out);
    spy_buf_puts(&p->out, ", \"locals\": [");
    for (size_t i = 0; i < p->locals.n; i++)
        put_local(p, i);
    spy_buf_puts(&p->out, "]}");
}

static void put_thread(struct probe *p, struct spy_python *py, struct spy_py_thread *th,
                       const struct spy_py_stack *st)
{
    spy_buf_reset(&p->out);
    spy_buf_printf(&p->out, "{\"ident\": %llu, \"frames\": [",
                   (unsigned long long)spy_py_thread_ident(th));
    for (size_t i = 0, at = 0; i < st->n; i++) {
        spy_python_locals(py, th, i, &at, &p->locals);
        put_frame(p, spy_codes_at(spy_python_codes(py), st->frames[i].code)->name, !i);
    }
    printf("%s]}\n", spy_buf_str(&p->out));
}

static void put_threads(struct probe *p, struct spy_python *py)
{
    struct spy_pause pause = {0};
    struct spy_py_options o = {.pausing = SPY_PAUSE_AUTO, .pause = &pause};
    struct spy_py_stack st;
    if (spy_python_refresh(py) < 0)
        return;
    for (size_t i = 0; i < spy_python_n_threads(py); i++)
        if (spy_python_sample(py, spy_python_thread(py, i), &o, &st) == 0)
            put_thread(p, py, spy_python_thread(py, i), &st);
    spy_pause_done(&pause);
}

static int print_locals(char **argv)
{
    struct spy_target *t = NULL;
    struct spy_python *py = NULL;
    struct spy_err err = {.code = 0};
    struct spy_core core;
    int r = strchr(argv[2], '/') ? spy_core_open(argv[2], NULL, &t, &core, &err)
                                 : spy_target_open((pid_t)strtol(argv[2], NULL, 10), &t, &err);
    if (r == 0)
        r = spy_python_attach(t, &py, &err);
    if (r < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    struct spy_py_value_options o = {.level = (unsigned)strtoul(argv[3], NULL, 10),
                                     .redact = argv[4] && !strcmp(argv[4], "redact")};
    struct probe p = {.values = spy_py_values_new(t, &spy_python_runtime(py)->layout, o),
                      .out = SPY_BUF_INIT(64 << 20),
                      .text = SPY_BUF_INIT(1 << 20)};
    put_threads(&p, py);
    spy_py_locals_done(&p.locals);
    spy_py_values_free(p.values);
    spy_buf_free(&p.out);
    spy_buf_free(&p.text);
    spy_python_free(py);
    spy_target_free(t);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 4 && !strcmp(argv[1], "objects"))
        return print_objects(argv);
    if (argc >= 4 && !strcmp(argv[1], "locals"))
        return print_locals(argv);
    if (argc >= 3 && !strcmp(argv[1], "secrets"))
        return print_secrets(argv);
    return 2;
}
