// From the dictionary of a request into a profile: strings, functions, stacks.
#include "shared/otlp/attributes.h"
#include "shared/otlp/decoder.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int spy_otlp_bad(struct spy_otlp_decoder *c, const char *what)
{
    return spy_err_set(c->err, SPY_ERR_INVALID, 0, "not an OTLP profiles request: %s", what);
}

int spy_otlp_failed(struct spy_otlp_decoder *c, int r)
{
    return spy_err_set(c->err, r, 0, "%s",
                       r == SPY_ERR_LIMIT ? "the request holds too many different entries"
                                          : spy_code_name(r));
}

const char *spy_otlp_text(const struct spy_otlp_decoder *c, int32_t index)
{
    return index >= 0 && (size_t)index < c->d->n_string_table ? c->d->string_table[index] : NULL;
}

static int map_string(struct spy_otlp_decoder *c, int32_t index, uint32_t *ret)
{
    const char *s = spy_otlp_text(c, index);
    if (!s)
        return spy_otlp_bad(c, "a string index is out of range");
    if (!c->strings[index]) {
        int r = spy_profile_cstr(c->p, s, ret);
        if (r < 0)
            return spy_otlp_failed(c, r);
        c->strings[index] = *ret + 1;
    }
    *ret = c->strings[index] - 1;
    return 0;
}

static uint32_t to_line(int64_t line)
{
    return line > 0 && line <= INT32_MAX ? (uint32_t)line : 0;
}

static uint32_t kind_of(const struct spy_otlp_decoder *c, const Spy__Otlp__Function *f,
                        bool has_mapping)
{
    const char *system = spy_otlp_text(c, f->system_name_strindex);
    if (system && !strcmp(system, SPY_SYSTEM_MARKER))
        return SPY_FRAME_MARKER;
    if (system && !strcmp(system, SPY_SYSTEM_NATIVE))
        return SPY_FRAME_NATIVE;
    return has_mapping ? SPY_FRAME_NATIVE : SPY_FRAME_PYTHON;
}

static int map_function(struct spy_otlp_decoder *c, int32_t index, bool has_mapping, uint32_t *ret)
{
    if (index < 0 || (size_t)index >= c->d->n_function_table)
        return spy_otlp_bad(c, "a function index is out of range");
    if (!c->functions[index]) {
        const Spy__Otlp__Function *f = c->d->function_table[index];
        struct spy_function fn = {.start_line = to_line(f->start_line),
                                  .kind = kind_of(c, f, has_mapping)};
        int r = map_string(c, f->name_strindex, &fn.name);
        if (r == 0)
            r = map_string(c, f->filename_strindex, &fn.filename);
        if (r < 0)
            return r;
        r = spy_profile_function(c->p, &fn, ret);
        if (r < 0)
            return spy_otlp_failed(c, r);
        c->functions[index] = *ret + 1;
    }
    *ret = c->functions[index] - 1;
    return 0;
}

static int push_frame(struct spy_otlp_decoder *c, uint32_t function, uint32_t line, uint32_t *stack)
{
    uint32_t frame;
    int r = spy_profile_frame(c->p, (struct spy_frame){function, line}, &frame);
    if (r == 0)
        r = spy_profile_stack(c->p, *stack, frame, stack);
    return r < 0 ? spy_otlp_failed(c, r) : 0;
}

static int push_named(struct spy_otlp_decoder *c, const char *name, const char *file, uint32_t kind,
                      uint32_t *stack)
{
    struct spy_function fn = {.kind = kind};
    uint32_t id = 0;
    int r = spy_profile_cstr(c->p, name, &fn.name);
    if (r == 0)
        r = spy_profile_cstr(c->p, file, &fn.filename);
    if (r == 0)
        r = spy_profile_function(c->p, &fn, &id);
    return r < 0 ? spy_otlp_failed(c, r) : push_frame(c, id, 0, stack);
}

// A location without lines is native code nobody has symbolized: its address names it.
static int push_address(struct spy_otlp_decoder *c, const Spy__Otlp__Location *l, uint32_t *stack)
{
    char name[32];
    const char *file = "";
    if ((size_t)l->mapping_index < c->d->n_mapping_table && l->mapping_index > 0)
        file = spy_otlp_text(c, c->d->mapping_table[l->mapping_index]->filename_strindex);
    snprintf(name, sizeof name, "0x%" PRIx64, l->address);
    return push_named(c, name, file ? file : "", SPY_FRAME_NATIVE, stack);
}

// The lines of a location are inlined calls, the innermost first.
static int push_location(struct spy_otlp_decoder *c, int32_t index, uint32_t *stack)
{
    if (index < 0 || (size_t)index >= c->d->n_location_table)
        return spy_otlp_bad(c, "a location index is out of range");
    const Spy__Otlp__Location *l = c->d->location_table[index];
    if (!l->n_lines)
        return push_address(c, l, stack);
    for (size_t i = l->n_lines; i-- > 0;) {
        uint32_t function;
        int r = map_function(c, l->lines[i]->function_index, l->mapping_index > 0, &function);
        if (r == 0)
            r = push_frame(c, function, to_line(l->lines[i]->line), stack);
        if (r < 0)
            return r;
    }
    return 0;
}

// How many of the innermost locations are kept: stack_depth counts frames, and a location can hold
// any number of them.
static size_t fitting(const struct spy_otlp_decoder *c, const Spy__Otlp__Stack *s,
                      uint64_t *ret_frames)
{
    size_t n = 0;
    *ret_frames = 0;
    for (; n < s->n_location_indices; n++) {
        int32_t at = s->location_indices[n];
        bool known = at >= 0 && (size_t)at < c->d->n_location_table;
        size_t lines = known ? c->d->location_table[at]->n_lines : 0;
        if (*ret_frames + lines + !lines > c->limits->stack_depth)
            break;
        *ret_frames += lines + !lines;
    }
    return n;
}

int spy_otlp_check_budget(struct spy_otlp_decoder *c)
{
    const struct spy_otlp_limits *l = c->limits;
    if (l->frames && c->frames > l->frames)
        return spy_err_set(c->err, SPY_ERR_LIMIT, 0, "the stacks of the request are too large");
    if (l->profile_bytes && c->made_bytes + spy_profile_memory(c->p) > l->profile_bytes)
        return spy_err_set(c->err, SPY_ERR_LIMIT, 0,
                           "the profiles of the request take more than %zu bytes",
                           l->profile_bytes);
    return 0;
}

static int make_stack(struct spy_otlp_decoder *c, const Spy__Otlp__Stack *s, uint32_t *ret)
{
    uint64_t frames;
    size_t n = fitting(c, s, &frames);
    int r = 0;
    *ret = 0;
    c->frames += frames + 1;
    if (n < s->n_location_indices)
        r = push_named(c, "[truncated]", "", SPY_FRAME_MARKER, ret);
    while (r == 0 && n)
        r = push_location(c, s->location_indices[--n], ret);
    return r < 0 ? r : spy_otlp_check_budget(c);
}

int spy_otlp_stack(struct spy_otlp_decoder *c, int32_t index, uint32_t *ret)
{
    *ret = 0;
    if (!index && !c->d->n_stack_table)
        return 0;
    if (index < 0 || (size_t)index >= c->d->n_stack_table)
        return spy_otlp_bad(c, "a stack index is out of range");
    if (!c->stacks[index]) {
        int r = make_stack(c, c->d->stack_table[index], ret);
        if (r < 0)
            return r;
        c->stacks[index] = *ret + 1;
    }
    *ret = c->stacks[index] - 1;
    return 0;
}
