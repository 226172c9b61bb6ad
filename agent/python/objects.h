// objects.h - where the fields of Python's own objects lie: what layout.h leaves out, because only
// values need it. Inside of agent/python.
//
// All of it follows from the layout of the interpreter (its version, and the lengths of its object
// headers); tests/unit/agent/python holds it against the headers of every interpreter that is
// installed. Offsets are bytes from the start of the object. SPY_PY_ABSENT: this version has no
// such field.
#pragma once
#include "agent/python/layout.h"

struct spy_py_objects {
    uint16_t frame_locals; // the first local variable of a frame
    // PyCodeObject. Up to 3.10 names stand in three tuples, later in one with a byte for each.
    uint16_t co_argcount, co_kwonlyargcount;
    uint16_t co_varnames, co_cellvars, co_freevars;
    uint16_t co_localsplusnames, co_localspluskinds;
    // PyTypeObject and PyHeapTypeObject
    uint16_t tp_name, tp_basicsize, tp_itemsize, tp_repr, tp_flags, tp_members, tp_base, tp_dict,
        tp_dictoffset;
    uint16_t ht_qualname, ht_cached_keys; // from 3.6
    uint16_t int_tag;                     // from 3.12: the sign and the number of digits
    uint16_t int_digits;
    uint16_t short_value; // 2.7: PyIntObject.ob_ival
    uint16_t float_value, complex_value, cell_value;
    uint16_t unicode_length, unicode_data; // 2.7: PyUnicodeObject
    uint16_t list_items, tuple_items;
    // PyDictObject. 2.7: a mask and a table, else keys and values.
    uint16_t dict_mask, dict_table, dict_keys, dict_values;
    uint16_t set_mask, set_table;
    uint16_t slice_start, range_start;
    uint16_t exception_args;
    uint16_t function_name; // the qualified one from 3.3
    uint16_t defaultdict_factory;
    // collections.deque: the list of its blocks, and where in the first its items begin.
    uint16_t deque_length, deque_block, deque_index, deque_maxlen;
    uint16_t block_items, block_next, block_length;
};

void spy_py_objects_of(const struct spy_py_layout *l, struct spy_py_objects *ret);
