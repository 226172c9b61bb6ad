#include "agent/python/locals.h"
#include "agent/python/objects.h"
#include "agent/python/reader.h"
#include "agent/python/text.h"
#include "agent/python/word.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum {
    NAMES_BYTES_MAX = 1 << 20,
    CODE_BYTES = 256,
    FAST_CELL = 0x40, // Include/internal/pycore_code.h
    FAST_FREE = 0x80,
    VARARGS = 4, // co_flags, Include/cpython/code.h
    VARKEYWORDS = 8,
    TAG_BITS = 3, // of a _PyStackRef, since 3.14; objects lie at multiples of 8 anyway
};

// One look at a frame.
struct look {
    const struct spy_target *target;
    const struct spy_py_layout *layout;
    struct spy_py_objects objects;
    uint8_t code[CODE_BYTES];
    uint64_t slots[SPY_PY_LOCALS_MAX];
    size_t n_slots;
    uint64_t n_arguments;
    struct spy_py_locals *ret;
};

static int read_code(struct look *k, uint64_t frame, uint64_t code)
{
    const struct spy_py_layout *l = k->layout;
    const struct spy_py_objects *o = &k->objects;
    uint64_t owner;
    if (l->co_filename + 8u > sizeof k->code)
        return SPY_ERR_TORN;
    int r = spy_target_read(k->target, code, k->code, l->co_filename + 8u);
    if (r == 0)
        r = spy_target_read_u64(k->target, frame + l->f_code, &owner);
    if (r == 0 && (owner & ~(uint64_t)l->f_code_tag) != code)
        r = SPY_ERR_TORN;
    if (r < 0)
        return r;
    uint32_t flags = spy_py_half(k->code, l->co_flags);
    k->n_arguments = spy_py_half(k->code, o->co_argcount);
    if (o->co_kwonlyargcount != SPY_PY_ABSENT)
        k->n_arguments += spy_py_half(k->code, o->co_kwonlyargcount);
    k->n_arguments += (flags & VARARGS ? 1u : 0u) + (flags & VARKEYWORDS ? 1u : 0u);
    return 0;
}

// The start of an object's items: of a tuple its pointers, of bytes its bytes. *ret_n is how many
// there are, at most `most`.
static int read_part(const struct look *k, uint64_t object, uint16_t at, size_t width, size_t most,
                     void *to, size_t *ret_n)
{
    uint64_t n;
    int r = spy_target_read_u64(k->target, object + k->layout->ob_size, &n);
    if (r < 0)
        return r;
    if (n > INT32_MAX)
        return SPY_ERR_TORN;
    *ret_n = n < most ? (size_t)n : most;
    k->ret->truncated = k->ret->truncated || n > most;
    return *ret_n ? spy_target_read(k->target, object + at, to, *ret_n * width) : 0;
}

static int read_names(const struct look *k, uint64_t tuple, uint64_t *names, size_t most,
                      size_t *ret_n)
{
    return read_part(k, tuple, k->objects.tuple_items, sizeof *names, most, names, ret_n);
}

// The first n variables of the frame.
static int read_slots(struct look *k, uint64_t frame, size_t n)
{
    k->n_slots = spy_min(n, SPY_COUNT(k->slots));
    if (!k->n_slots)
        return 0;
    return spy_target_read(k->target, frame + k->objects.frame_locals, k->slots,
                           k->n_slots * sizeof *k->slots);
}

// Is there a cell? Before a function has made its cells the variable itself stands there.
static bool is_cell_object(const struct look *k, uint64_t object)
{
    const struct spy_py_layout *l = k->layout;
    uint64_t type, name;
    char text[5];
    return spy_target_read_u64(k->target, object + l->ob_type, &type) == 0 &&
           spy_target_read_u64(k->target, type + k->objects.tp_name, &name) == 0 &&
           spy_target_read(k->target, name, text, sizeof text) == 0 && !memcmp(text, "cell", 5);
}

// What the cell in a slot holds; 0: nothing.
static uint64_t open_cell(const struct look *k, uint64_t slot)
{
    uint64_t value;
    if (!slot || !is_cell_object(k, slot))
        return slot;
    return spy_target_read_u64(k->target, slot + k->objects.cell_value, &value) == 0 ? value : 0;
}

static int add_local(struct look *k, uint64_t name, uint64_t slot, struct spy_py_local local)
{
    struct spy_py_locals *ret = k->ret;
    local.value = slot & ~(uint64_t)TAG_BITS;
    if (local.is_cell || local.is_free)
        local.value = open_cell(k, local.value);
    if (!local.value)
        return 0;
    local.name = (uint32_t)ret->names.len;
    int r = spy_grow(&ret->list, &ret->cap, ret->n + 1, sizeof *ret->list, SPY_PY_LOCALS_MAX);
    if (r == 0)
        r = spy_py_text(k->target, k->layout, name, &ret->names);
    if (r == 0)
        r = spy_buf_append(&ret->names, "", 1);
    if (r == 0)
        ret->list[ret->n++] = local;
    return r;
}

// 3.11 and later: one tuple of names, and a byte for each that says what it is.
static int list_by_kind(struct look *k, uint64_t frame)
{
    const struct spy_py_objects *o = &k->objects;
    uint64_t names[SPY_PY_LOCALS_MAX];
    uint8_t kinds[SPY_PY_LOCALS_MAX];
    size_t n, n_kinds;
    int r = read_names(k, spy_py_word(k->code, o->co_localsplusnames), names, SPY_COUNT(names), &n);
    if (r == 0)
        r = read_part(k, spy_py_word(k->code, o->co_localspluskinds), k->layout->bytes_data, 1,
                      sizeof kinds, kinds, &n_kinds);
    if (r == 0 && n != n_kinds)
        r = SPY_ERR_TORN;
    if (r == 0)
        r = read_slots(k, frame, n);
    for (size_t i = 0; r == 0 && i < k->n_slots; i++)
        r = add_local(k, names[i], k->slots[i],
                      (struct spy_py_local){.is_argument = i < k->n_arguments,
                                            .is_cell = kinds[i] & FAST_CELL,
                                            .is_free = kinds[i] & FAST_FREE});
    return r;
}

static size_t find_shared_name(const uint64_t *names, size_t n, uint64_t name)
{
    size_t i = 0;
    while (i < n && names[i] != name)
        i++;
    return i;
}

// Up to 3.10 there are three tuples of names, and slots in the same order. A name is the same object
// in each of them, because names are interned.
struct names {
    uint64_t vars[SPY_PY_LOCALS_MAX], cells[SPY_PY_LOCALS_MAX], frees[SPY_PY_LOCALS_MAX];
    size_t n_vars, n_cells, n_frees;
};

static int add_all(struct look *k, const struct names *s)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->n_vars && i < k->n_slots; i++) {
        size_t cell = find_shared_name(s->cells, s->n_cells, s->vars[i]), at = s->n_vars + cell;
        bool shared = cell < s->n_cells && at < k->n_slots;
        r = add_local(k, s->vars[i], k->slots[shared ? at : i],
                      (struct spy_py_local){.is_argument = i < k->n_arguments, .is_cell = shared});
    }
    for (size_t i = 0; r == 0 && i < s->n_cells && s->n_vars + i < k->n_slots; i++)
        if (find_shared_name(s->vars, s->n_vars, s->cells[i]) == s->n_vars)
            r = add_local(k, s->cells[i], k->slots[s->n_vars + i],
                          (struct spy_py_local){.is_cell = true});
    for (size_t i = 0; r == 0 && i < s->n_frees && s->n_vars + s->n_cells + i < k->n_slots; i++)
        r = add_local(k, s->frees[i], k->slots[s->n_vars + s->n_cells + i],
                      (struct spy_py_local){.is_free = true});
    return r;
}

static int list_by_tuple(struct look *k, uint64_t frame)
{
    const struct spy_py_objects *o = &k->objects;
    struct names s;
    int r =
        read_names(k, spy_py_word(k->code, o->co_varnames), s.vars, SPY_COUNT(s.vars), &s.n_vars);
    if (r == 0)
        r = read_names(k, spy_py_word(k->code, o->co_cellvars), s.cells, SPY_COUNT(s.cells),
                       &s.n_cells);
    if (r == 0)
        r = read_names(k, spy_py_word(k->code, o->co_freevars), s.frees, SPY_COUNT(s.frees),
                       &s.n_frees);
    // Where names were left out, what follows has other slots than it seems.
    if (r == 0 && k->ret->truncated)
        s.n_cells = s.n_frees = 0;
    if (r == 0)
        r = read_slots(k, frame, s.n_vars + s.n_cells + s.n_frees);
    return r < 0 ? r : add_all(k, &s);
}

int spy_py_locals_read(const struct spy_target *t, const struct spy_py_layout *l, uint64_t frame,
                       uint64_t code, struct spy_py_locals *ret)
{
    struct look k = {.target = t, .layout = l, .ret = ret};
    spy_py_objects_of(l, &k.objects);
    ret->n = 0;
    ret->truncated = false;
    spy_buf_reset(&ret->names);
    ret->names.max = NAMES_BYTES_MAX;
    int r = read_code(&k, frame, code);
    if (r == 0)
        r = (k.objects.co_varnames == SPY_PY_ABSENT ? list_by_kind : list_by_tuple)(&k, frame);
    if (r == SPY_ERR_LIMIT) { // more than there is room for
        ret->truncated = true;
        r = 0;
    }
    if (r < 0)
        ret->n = 0;
    return r;
}

int spy_python_locals(struct spy_python *p, const struct spy_py_thread *th, size_t i, size_t *at,
                      struct spy_py_locals *ret)
{
    ret->n = 0;
    while (*at < th->last.n_recs && !th->last.recs[*at].shown)
        ++*at;
    if (i >= th->last.n_frames || *at == th->last.n_recs)
        return SPY_ERR_NOTFOUND;
    const struct spy_py_rec *rec = &th->last.recs[(*at)++];
    bool is_compiled =
        rec->owner == SPY_PY_OWNER_OBJECT || !spy_codes_at(&p->codes, rec->id)->units;
    if (is_compiled)
        return 0;
    return spy_py_locals_read(p->target, &p->runtime.layout, rec->addr, rec->code, ret);
}

void spy_py_locals_done(struct spy_py_locals *locals)
{
    free(locals->list);
    spy_buf_free(&locals->names);
    *locals = (struct spy_py_locals){0};
}
