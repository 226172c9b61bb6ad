// attribute.h - reads an attribute that an object of a target keeps in its own dict. Inside of
// agent/python.
//
// Where it is depends on the version. Up to 3.10: a dict that the object points to. 3.11 and 3.12:
// an array of values, with keys that all objects of the class share, or a dict once the program
// asked for it. Since 3.13 the values follow the object itself.
//
// The target keeps running, so the result need not be true of any one instant; the caller validates
// it, e.g. by its type.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/target.h"

// *ret is the address of the attribute's value; *ret_type that of the type of its name, which is
// str. SPY_ERR_NOTFOUND: there is no such attribute, or it is kept in another way; SPY_ERR_TORN.
int spy_py_attribute(const struct spy_target *t, const struct spy_py_layout *l, uint64_t object,
                     const char *name, uint64_t *ret, uint64_t *ret_type);
