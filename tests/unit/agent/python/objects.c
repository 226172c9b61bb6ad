// Prints the offsets of agent/python/objects.h as the headers of one interpreter have them;
// compiled by test_values.py against each one that is found. What is not in a header (the structures
// of range and of collections.deque) is tried by the values themselves.
#define Py_BUILD_CORE         1
#define Py_BUILD_CORE_BUILTIN 1
#include <Python.h> // before all else of CPython's
#include <frameobject.h>
#include <stddef.h>
#include <stdio.h>
#include <structmember.h>
#if PY_VERSION_HEX >= 0x030b0000
#include "internal/pycore_code.h"
#include "internal/pycore_frame.h"
#if PY_VERSION_HEX >= 0x030e0000
#include "internal/pycore_interpframe_structs.h"
#endif
#endif
#if PY_VERSION_HEX < 0x030b0000
#include <longintrepr.h>
#endif

#define PUT(field, value) printf(#field " %zu\n", (size_t)(value))
#define ABSENT            0xffff

static void code(void)
{
    PUT(co_argcount, offsetof(PyCodeObject, co_argcount));
#if PY_MAJOR_VERSION == 2
    PUT(co_kwonlyargcount, ABSENT);
#else
    PUT(co_kwonlyargcount, offsetof(PyCodeObject, co_kwonlyargcount));
#endif
#if PY_VERSION_HEX >= 0x030b0000
    PUT(frame_locals, offsetof(_PyInterpreterFrame, localsplus));
    PUT(co_varnames, ABSENT);
    PUT(co_cellvars, ABSENT);
    PUT(co_freevars, ABSENT);
    PUT(co_localsplusnames, offsetof(PyCodeObject, co_localsplusnames));
    PUT(co_localspluskinds, offsetof(PyCodeObject, co_localspluskinds));
#else
    PUT(frame_locals, offsetof(PyFrameObject, f_localsplus));
    PUT(co_varnames, offsetof(PyCodeObject, co_varnames));
    PUT(co_cellvars, offsetof(PyCodeObject, co_cellvars));
    PUT(co_freevars, offsetof(PyCodeObject, co_freevars));
    PUT(co_localsplusnames, ABSENT);
    PUT(co_localspluskinds, ABSENT);
#endif
}

static void types(void)
{
    PUT(tp_name, offsetof(PyTypeObject, tp_name));
    PUT(tp_basicsize, offsetof(PyTypeObject, tp_basicsize));
    PUT(tp_itemsize, offsetof(PyTypeObject, tp_itemsize));
    PUT(tp_repr, offsetof(PyTypeObject, tp_repr));
    PUT(tp_flags, offsetof(PyTypeObject, tp_flags));
    PUT(tp_members, offsetof(PyTypeObject, tp_members));
    PUT(tp_base, offsetof(PyTypeObject, tp_base));
    PUT(tp_dict, offsetof(PyTypeObject, tp_dict));
    PUT(tp_dictoffset, offsetof(PyTypeObject, tp_dictoffset));
#if PY_VERSION_HEX < 0x03060000
    PUT(ht_qualname, ABSENT);
    PUT(ht_cached_keys, ABSENT);
#else
    PUT(ht_qualname, offsetof(PyHeapTypeObject, ht_qualname));
    PUT(ht_cached_keys, offsetof(PyHeapTypeObject, ht_cached_keys));
#endif
}

static void scalars(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    PUT(int_tag, offsetof(PyLongObject, long_value.lv_tag));
    PUT(int_digits, offsetof(PyLongObject, long_value.ob_digit));
#else
    PUT(int_tag, ABSENT);
    PUT(int_digits, offsetof(struct _longobject, ob_digit));
#endif
#if PY_MAJOR_VERSION == 2
    PUT(short_value, offsetof(PyIntObject, ob_ival));
    PUT(unicode_length, offsetof(PyUnicodeObject, length));
    PUT(unicode_data, offsetof(PyUnicodeObject, str));
#else
    PUT(short_value, ABSENT);
    PUT(unicode_length, ABSENT);
    PUT(unicode_data, ABSENT);
#endif
    PUT(float_value, offsetof(PyFloatObject, ob_fval));
    PUT(complex_value, offsetof(PyComplexObject, cval));
    PUT(cell_value, offsetof(PyCellObject, ob_ref));
    PUT(slice_start, offsetof(PySliceObject, start));
    PUT(exception_args, offsetof(PyBaseExceptionObject, args));
#if PY_MAJOR_VERSION == 2
    PUT(function_name, offsetof(PyFunctionObject, func_name));
#else
    PUT(function_name, offsetof(PyFunctionObject, func_qualname));
#endif
}

static void containers(void)
{
    PUT(list_items, offsetof(PyListObject, ob_item));
    PUT(tuple_items, offsetof(PyTupleObject, ob_item));
#if PY_MAJOR_VERSION == 2
    PUT(dict_mask, offsetof(PyDictObject, ma_mask));
    PUT(dict_table, offsetof(PyDictObject, ma_table));
    PUT(dict_keys, ABSENT);
    PUT(dict_values, ABSENT);
    PUT(defaultdict_factory, ABSENT);
#else
    PUT(dict_mask, ABSENT);
    PUT(dict_table, ABSENT);
    PUT(dict_keys, offsetof(PyDictObject, ma_keys));
    PUT(dict_values, offsetof(PyDictObject, ma_values));
    PUT(defaultdict_factory, sizeof(PyDictObject));
#endif
    PUT(set_mask, offsetof(PySetObject, mask));
    PUT(set_table, offsetof(PySetObject, table));
}

int main(void)
{
    code();
    types();
    scalars();
    containers();
    return 0;
}
