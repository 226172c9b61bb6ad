// attribute.h - an attribute that an object of a target keeps in its own dict. Inside of
// agent/python.
//
// Where that is, depends on the version: up to 3.10 a dict that the object points to; 3.11 and
// 3.12, an array of values beside the keys that all objects of the class share, or a dict once
// somebody asked for it; from 3.13 on those values follow the object itself.
//
// Nothing is stopped meanwhile, so what is found need not have been true at any one instant; the
// caller judges what comes back, e.g. by its type.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/target.h"

// *ret is the address of the attribute's value; *ret_type, of the type of the name's own object, a
// str. SPY_ERR_NOTFOUND: it has none, or keeps it in another way; SPY_ERR_TORN.
int spy_py_attribute(const struct spy_target *t, const struct spy_py_layout *l, uint64_t object,
                     const char *name, uint64_t *ret, uint64_t *ret_type);
