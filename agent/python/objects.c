#include "agent/python/objects.h"
#include "shared/base/mem.h"
#include <stdbool.h>

#define ABSENT SPY_PY_ABSENT

static bool is_since(const struct spy_py_layout *l, unsigned minor)
{
    return l->major == 3 && l->minor >= minor;
}

// Frames and code objects. A PyFrameObject has 20 PyTryBlocks of 12 bytes before its variables.
static void place_code(const struct spy_py_layout *l, struct spy_py_objects *o)
{
    enum { BLOCK_STACK = 240 };
    bool one_tuple = is_since(l, 11), has_cell2arg = l->major == 3;
    o->frame_locals = l->f_size;
    if (l->heap_frames)
        o->frame_locals = (uint16_t)(l->f_size + BLOCK_STACK + (l->f_executing == ABSENT ? 8 : 0));
    o->co_argcount = (uint16_t)(one_tuple ? l->co_stacksize - 12 : l->ob_type + 8);
    o->co_kwonlyargcount = l->major == 2 ? ABSENT
                           : one_tuple   ? (uint16_t)(l->co_stacksize - 4)
                                         : (uint16_t)(l->co_nlocalsplus - 4);
    uint16_t varnames = (uint16_t)(l->co_filename - (has_cell2arg ? 32 : 24));
    o->co_varnames = one_tuple ? ABSENT : varnames;
    o->co_freevars = one_tuple ? ABSENT : (uint16_t)(varnames + 8);
    o->co_cellvars = one_tuple ? ABSENT : (uint16_t)(varnames + 16);
    o->co_localsplusnames = one_tuple ? (uint16_t)(l->co_filename - 16) : ABSENT;
    o->co_localspluskinds = one_tuple ? (uint16_t)(l->co_filename - 8) : ABSENT;
}

static void place_type(const struct spy_py_layout *l, struct spy_py_objects *o)
{
    uint16_t var = (uint16_t)(l->ob_size + 8);
    o->tp_name = var;
    o->tp_basicsize = (uint16_t)(var + 8);
    o->tp_itemsize = (uint16_t)(var + 16);
    o->tp_repr = (uint16_t)(var + 64);
    o->tp_flags = (uint16_t)(var + 144);
    o->tp_members = (uint16_t)(var + 216);
    o->tp_base = (uint16_t)(var + 232);
    o->tp_dict = (uint16_t)(var + 240);
    o->tp_dictoffset = (uint16_t)(var + 264);
    static const uint16_t qualname[] = {[6] = 824, 824, 840, 832, 840, 840, 848, 848, 848, 856};
    bool known = l->major == 3 && l->minor < SPY_COUNT(qualname) && qualname[l->minor];
    o->ht_qualname = known ? (uint16_t)(var + qualname[l->minor]) : ABSENT;
    o->ht_cached_keys = known ? (uint16_t)(o->ht_qualname + 8) : ABSENT;
}

static void place_scalars(const struct spy_py_layout *l, struct spy_py_objects *o)
{
    uint16_t head = (uint16_t)(l->ob_type + 8), var = (uint16_t)(l->ob_size + 8);
    bool tagged = is_since(l, 12);
    o->int_tag = tagged ? head : ABSENT;
    o->int_digits = tagged ? (uint16_t)(head + 8) : var;
    o->short_value = l->major == 2 ? head : ABSENT;
    o->float_value = o->complex_value = o->cell_value = head;
    o->unicode_length = l->major == 2 ? head : ABSENT;
    o->unicode_data = l->major == 2 ? (uint16_t)(head + 8) : ABSENT;
    o->slice_start = o->range_start = head;
    o->exception_args = (uint16_t)(head + 8);
    o->function_name = (uint16_t)(head + (l->major == 2 ? 40 : is_since(l, 10) ? 24 : 88));
}

// A tuple keeps its hash since 3.14, and a dict has a version between its size and its keys since
// 3.6. The items of a deque stand between the links of their block since 3.4, and are 64 since 3.5.
static void place_containers(const struct spy_py_layout *l, struct spy_py_objects *o)
{
    uint16_t head = (uint16_t)(l->ob_type + 8), var = (uint16_t)(l->ob_size + 8);
    o->list_items = var;
    o->tuple_items = (uint16_t)(var + (is_since(l, 14) ? 8 : 0));
    bool hashed = l->major == 2;
    o->dict_mask = hashed ? (uint16_t)(head + 16) : ABSENT;
    o->dict_table = hashed ? (uint16_t)(head + 24) : ABSENT;
    o->dict_keys = hashed ? ABSENT : (uint16_t)(head + (is_since(l, 6) ? 16 : 8));
    o->dict_values = hashed ? ABSENT : (uint16_t)(o->dict_keys + 8);
    o->defaultdict_factory = hashed ? ABSENT : (uint16_t)(o->dict_values + 8);
    o->set_mask = (uint16_t)(head + 16);
    o->set_table = (uint16_t)(head + 24);
    bool linked_around = is_since(l, 4);
    uint16_t blocks = hashed ? head : var;
    o->deque_block = blocks;
    o->deque_index = (uint16_t)(blocks + 16);
    o->deque_length = hashed ? (uint16_t)(blocks + 32) : l->ob_size;
    o->deque_maxlen = (uint16_t)(blocks + (hashed ? 48 : 40));
    o->block_length = is_since(l, 5) ? 64 : 62;
    o->block_items = linked_around ? 8 : 0;
    o->block_next = (uint16_t)(o->block_items + o->block_length * 8);
}

void spy_py_objects_of(const struct spy_py_layout *l, struct spy_py_objects *ret)
{
    *ret = (struct spy_py_objects){0};
    place_code(l, ret);
    place_type(l, ret);
    place_scalars(l, ret);
    place_containers(l, ret);
}
