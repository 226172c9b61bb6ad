#include "agent/sampler/intern.h"

int spy_intern_marker(struct spy_profile *p, const char *text, uint32_t *ret_frame)
{
    struct spy_function f = {.kind = SPY_FRAME_MARKER};
    uint32_t id = 0;
    int r = spy_profile_cstr(p, text, &f.name);
    if (r == 0)
        r = spy_profile_function(p, &f, &id);
    return r == 0 ? spy_profile_frame(p, (struct spy_frame){.function = id}, ret_frame) : r;
}

static void find_package(const struct spy_intern *in, const struct spy_code *code)
{
    if (!in->packages)
        return;
    spy_hung_mark_begin(in->mark, spy_target_pid(in->target));
    spy_packages_look_up(in->packages, in->target, code->filename);
    spy_hung_mark_end(in->mark);
}

static int intern_code(const struct spy_intern *in, struct spy_code *code, uint32_t *ret)
{
    if (code->user[1] == in->epoch) {
        *ret = code->user[0];
        return 0;
    }
    find_package(in, code);
    struct spy_function f = {.start_line = code->first_line, .kind = SPY_FRAME_PYTHON};
    int r = spy_profile_cstr(in->profile, code->name, &f.name);
    if (r == 0)
        r = spy_profile_cstr(in->profile, code->filename, &f.filename);
    if (r == 0)
        r = spy_profile_function(in->profile, &f, ret);
    if (r == 0) {
        code->user[0] = *ret;
        code->user[1] = in->epoch;
    }
    return r;
}

static int intern_python_frame(const struct spy_intern *in, const struct spy_py_frame *f,
                               uint32_t *ret)
{
    uint32_t function;
    int r = intern_code(in, spy_codes_at(in->codes, f->code), &function);
    return r < 0 ? r : spy_profile_frame(in->profile, (struct spy_frame){function, f->line}, ret);
}

static int intern_native_name(const struct spy_intern *in, const struct spy_mixed_name *name,
                              uint32_t *ret)
{
    struct spy_function f = {.kind = SPY_FRAME_NATIVE};
    uint32_t function;
    int r = spy_profile_cstr(in->profile, name->function, &f.name);
    if (r == 0)
        r = spy_profile_cstr(in->profile, name->file, &f.filename);
    if (r == 0)
        r = spy_profile_function(in->profile, &f, &function);
    return r < 0 ? r
                 : spy_profile_frame(in->profile, (struct spy_frame){function, name->line}, ret);
}

// The frames that are shown of a native frame.
static int find_native_ids(const struct spy_intern *in, struct spy_mixed *mixed, uint64_t call,
                           const struct spy_mixed_ids **ret)
{
    struct spy_mixed_name names[SPY_MIXED_NAMES_MAX];
    struct spy_mixed_ids *ids = spy_mixed_ids(mixed, call);
    *ret = ids;
    if (ids->epoch == in->epoch)
        return 0;
    int r = 0;
    ids->n = (uint32_t)spy_mixed_names(mixed, call, names);
    for (uint32_t i = 0; i < ids->n && r == 0; i++)
        r = intern_native_name(in, &names[i], &ids->ids[i]);
    ids->epoch = r == 0 ? in->epoch : 0;
    return r;
}

static int push_native(const struct spy_intern *in, struct spy_mixed *mixed, uint64_t call,
                       uint32_t *stack)
{
    const struct spy_mixed_ids *ids;
    int r = find_native_ids(in, mixed, call, &ids);
    for (uint32_t i = ids->n; r == 0 && i-- > 0;)
        r = spy_profile_stack(in->profile, *stack, ids->ids[i], stack);
    return r;
}

int spy_intern_mixed(const struct spy_intern *in, struct spy_mixed *mixed,
                     const struct spy_py_stack *st, const struct spy_mixed_frame *frames, int n,
                     uint32_t *ret)
{
    uint32_t frame, stack = st->n ? 0 : in->outside;
    int r = 0;
    for (int i = n; r == 0 && i-- > 0;) {
        if (frames[i].is_native) {
            r = push_native(in, mixed, frames[i].call, &stack);
            continue;
        }
        r = intern_python_frame(in, &st->frames[frames[i].python], &frame);
        if (r == 0)
            r = spy_profile_stack(in->profile, stack, frame, &stack);
    }
    *ret = stack;
    return r;
}

uint32_t spy_intern_outer(const struct spy_intern *in, uint32_t stack, size_t depth, size_t n)
{
    for (; depth > n; depth--)
        stack = spy_profile_stack_at(in->profile, stack)->parent;
    return stack;
}

int spy_intern_stack(const struct spy_intern *in, const struct spy_py_stack *st, uint32_t stack,
                     size_t n_same, uint32_t *ret)
{
    uint32_t frame;
    int r = 0;
    if (!st->n) {
        *ret = in->outside;
        return 0;
    }
    if (st->truncated && !n_same) {
        r = spy_intern_marker(in->profile, "[truncated]", &frame);
        if (r == 0)
            r = spy_profile_stack(in->profile, stack, frame, &stack);
    }
    for (size_t i = st->n - n_same; r == 0 && i-- > 0;) {
        r = intern_python_frame(in, &st->frames[i], &frame);
        if (r == 0)
            r = spy_profile_stack(in->profile, stack, frame, &stack);
    }
    *ret = stack;
    return r;
}
