// dictionary.c - adds a dictionary's strings, functions and stacks to a profile.
#include "shared/base/mem.h"
#include "shared/base/stop.h"
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

int spy_otlp_step(struct spy_otlp_decoder *c, uint64_t n)
{
    if (spy_stop_is_set(c->limits->stop))
        return spy_err_set(c->err, SPY_ERR_GONE, 0, "the client has gone");
    c->steps = spy_add_sat(c->steps, n);
    if (c->steps_max && c->steps > c->steps_max)
        return spy_err_set(c->err, SPY_ERR_LIMIT, 0,
                           "the request refers to the same stacks or texts too often");
    return 0;
}

int spy_otlp_intern(struct spy_otlp_decoder *c, const char *text, uint32_t *ret)
{
    int r = spy_otlp_step(c, 1 + strlen(text) / SPY_OTLP_STEP_BYTES);
    if (r < 0)
        return r;
    r = spy_profile_cstr(c->p, text, ret);
    return r < 0 ? spy_otlp_failed(c, r) : 0;
}

static bool is_memoized(const struct spy_otlp_decoder *c, const struct spy_otlp_memo *m,
                        uint32_t *ret)
{
    if (m->profile != c->number)
        return false;
    *ret = m->id;
    return true;
}

static int decode_string(struct spy_otlp_decoder *c, int32_t index, uint32_t *ret)
{
    const char *s = spy_otlp_text(c, index);
    if (!s)
        return spy_otlp_bad(c, "a string index is out of range");
    if (is_memoized(c, &c->strings[index], ret))
        return 0;
    int r = spy_otlp_intern(c, s, ret);
    if (r == 0)
        c->strings[index] = (struct spy_otlp_memo){c->number, *ret};
    return r;
}

static uint32_t to_line(int64_t line)
{
    return line > 0 && line <= INT32_MAX ? (uint32_t)line : 0;
}

// Two kinds of code are distinguished: Python's and all other.
static enum spy_frame_kind kind_of_type(const char *type)
{
    return !strcmp(type, "cpython")        ? SPY_FRAME_PYTHON
           : !strcmp(type, "abort-marker") ? SPY_FRAME_MARKER
                                           : SPY_FRAME_NATIVE;
}

// The kind of a location's frames: by the attribute profile.frame.type, or else by whether it has a
// mapping.
static int kind_of_location(struct spy_otlp_decoder *c, int32_t index, uint32_t *ret)
{
    const Spy__Otlp__Location *l = c->d->location_table[index];
    uint32_t kind = l->mapping_index > 0 || !l->n_lines ? SPY_FRAME_NATIVE : SPY_FRAME_PYTHON;
    for (size_t i = 0; !c->kinds[index] && i < l->n_attribute_indices; i++) {
        struct spy_otlp_attribute *a;
        int r = spy_otlp_attribute(c, l->attribute_indices[i], &a);
        if (r < 0)
            return r;
        if (!strcmp(a->key, SPY_ATTR_FRAME_TYPE) && *a->text)
            kind = kind_of_type(a->text);
    }
    if (!c->kinds[index])
        c->kinds[index] = (uint8_t)(kind + 1);
    *ret = c->kinds[index] - 1u;
    return 0;
}

// The system name of podspy's own functions is their kind.
static uint32_t function_kind(const struct spy_otlp_decoder *c, const Spy__Otlp__Function *f,
                              uint32_t kind)
{
    const char *system = spy_otlp_text(c, f->system_name_strindex);
    if (system && !strcmp(system, SPY_SYSTEM_MARKER))
        return SPY_FRAME_MARKER;
    return system && !strcmp(system, SPY_SYSTEM_NATIVE) ? SPY_FRAME_NATIVE : kind;
}

static int decode_function(struct spy_otlp_decoder *c, int32_t index, uint32_t kind, uint32_t *ret)
{
    if (index < 0 || (size_t)index >= c->d->n_function_table)
        return spy_otlp_bad(c, "a function index is out of range");
    struct spy_otlp_memo *memo = &c->functions[(size_t)index * SPY_FRAME_KINDS + kind];
    if (is_memoized(c, memo, ret))
        return 0;
    const Spy__Otlp__Function *f = c->d->function_table[index];
    struct spy_function fn = {.start_line = to_line(f->start_line),
                              .kind = function_kind(c, f, kind)};
    int r = decode_string(c, f->name_strindex, &fn.name);
    if (r == 0)
        r = decode_string(c, f->filename_strindex, &fn.filename);
    if (r < 0)
        return r;
    r = spy_profile_function(c->p, &fn, ret);
    if (r < 0)
        return spy_otlp_failed(c, r);
    *memo = (struct spy_otlp_memo){c->number, *ret};
    return 0;
}

// location: where the frame is remembered, as the only one there; NULL: nowhere.
static int push_frame(struct spy_otlp_decoder *c, uint32_t function, uint32_t line,
                      struct spy_otlp_memo *location, uint32_t *stack)
{
    uint32_t frame;
    int r = spy_profile_frame(c->p, (struct spy_frame){function, line}, &frame);
    if (r == 0)
        r = spy_profile_stack(c->p, *stack, frame, stack);
    if (r == 0 && location)
        *location = (struct spy_otlp_memo){c->number, frame};
    return r < 0 ? spy_otlp_failed(c, r) : 0;
}

static int push_named(struct spy_otlp_decoder *c, const char *name, uint32_t file, uint32_t kind,
                      uint32_t *stack)
{
    struct spy_function fn = {.kind = kind, .filename = file};
    uint32_t id = 0;
    int r = spy_profile_cstr(c->p, name, &fn.name);
    if (r == 0)
        r = spy_profile_function(c->p, &fn, &id);
    return r < 0 ? spy_otlp_failed(c, r) : push_frame(c, id, 0, NULL, stack);
}

// A location without lines was not symbolized: its address is its name.
static int push_address(struct spy_otlp_decoder *c, const Spy__Otlp__Location *l, uint32_t kind,
                        uint32_t *stack)
{
    char name[32];
    uint32_t file = 0;
    int32_t at = l->mapping_index;
    if (at < 0 || (at > 0 && (size_t)at >= c->d->n_mapping_table))
        return spy_otlp_bad(c, "a mapping index is out of range");
    int r = at ? decode_string(c, c->d->mapping_table[at]->filename_strindex, &file) : 0;
    if (r < 0)
        return r;
    snprintf(name, sizeof name, "0x%" PRIx64, l->address);
    return push_named(c, name, file, kind, stack);
}

// The lines of a location are inlined calls, the innermost first.
static int push_location(struct spy_otlp_decoder *c, int32_t index, uint32_t *stack)
{
    if (index < 0 || (size_t)index >= c->d->n_location_table)
        return spy_otlp_bad(c, "a location index is out of range");
    const Spy__Otlp__Location *l = c->d->location_table[index];
    struct spy_otlp_memo *memo = l->n_lines == 1 ? &c->locations[index] : NULL;
    uint32_t kind;
    if (memo && is_memoized(c, memo, &kind)) {
        int known = spy_profile_stack(c->p, *stack, memo->id, stack);
        return known < 0 ? spy_otlp_failed(c, known) : 0;
    }
    int r = kind_of_location(c, index, &kind);
    if (r == 0 && !l->n_lines)
        return push_address(c, l, kind, stack);
    for (size_t i = l->n_lines; r == 0 && i-- > 0;) {
        uint32_t function;
        r = decode_function(c, l->lines[i]->function_index, kind, &function);
        if (r == 0)
            r = push_frame(c, function, to_line(l->lines[i]->line), memo, stack);
    }
    return r;
}

// How many of the innermost locations are kept: stack_depth counts frames, and a location can hold
// any number of them.
static size_t count_fitting(const struct spy_otlp_decoder *c, const Spy__Otlp__Stack *s,
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

int spy_otlp_check_memory(struct spy_otlp_decoder *c)
{
    const struct spy_otlp_limits *l = c->limits;
    if (l->profile_bytes && c->made_bytes + spy_profile_memory(c->p) > l->profile_bytes)
        return spy_err_set(c->err, SPY_ERR_LIMIT, 0,
                           "the profiles of the request take more than %zu bytes",
                           l->profile_bytes);
    return 0;
}

// Skips the outermost locations that the stack made before had as well: returns how many.
static size_t follow_path(struct spy_otlp_decoder *c, const Spy__Otlp__Stack *s, uint32_t *stack)
{
    size_t n = 0, most = s->n_location_indices;
    if (c->path_profile != c->number)
        c->n_path = 0;
    while (n < c->n_path && n < most && c->path[n].location == s->location_indices[most - 1 - n])
        n++;
    c->path_profile = c->number;
    c->n_path = n;
    *stack = n ? c->path[n - 1].stack : 0;
    return n;
}

static int push_path(struct spy_otlp_decoder *c, const Spy__Otlp__Stack *s, uint32_t *ret)
{
    size_t left = s->n_location_indices;
    int r = spy_grow(&c->path, &c->path_cap, left, sizeof *c->path, SIZE_MAX / sizeof *c->path);
    if (r < 0)
        return spy_otlp_failed(c, r);
    left -= follow_path(c, s, ret);
    while (r == 0 && left) {
        int32_t location = s->location_indices[--left];
        r = push_location(c, location, ret);
        c->path[c->n_path++] = (struct spy_otlp_step_of_path){location, *ret};
    }
    if (r < 0)
        c->n_path = 0;
    return r;
}

static int make_stack(struct spy_otlp_decoder *c, const Spy__Otlp__Stack *s, uint32_t *ret)
{
    uint64_t frames;
    size_t n = count_fitting(c, s, &frames);
    int r = spy_otlp_step(c, frames + 1);
    *ret = 0;
    if (r == 0 && n == s->n_location_indices) {
        r = push_path(c, s, ret);
    } else if (r == 0) {
        r = push_named(c, "[truncated]", 0, SPY_FRAME_MARKER, ret);
        while (r == 0 && n)
            r = push_location(c, s->location_indices[--n], ret);
    }
    return r < 0 ? r : spy_otlp_check_memory(c);
}

int spy_otlp_stack(struct spy_otlp_decoder *c, int32_t index, uint32_t *ret)
{
    uint32_t stack = 0;
    bool is_empty = !index && !c->d->n_stack_table;
    if (!is_empty && (index < 0 || (size_t)index >= c->d->n_stack_table))
        return spy_otlp_bad(c, "a stack index is out of range");
    if (!is_empty && !is_memoized(c, &c->stacks[index], &stack)) {
        int r = make_stack(c, c->d->stack_table[index], &stack);
        if (r < 0)
            return r;
        c->stacks[index] = (struct spy_otlp_memo){c->number, stack};
    }
    *ret = stack;
    return 0;
}
