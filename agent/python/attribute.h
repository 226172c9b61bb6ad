// attribute.h - reads an attribute that an object of a target keeps in its own dict. Inside of
// agent/python.
//
// The place depends on the version (value_dict.c): a dict that the object points to, or since 3.11
// an array of values whose keys all objects of the class share.
//
// The target keeps running meanwhile, so the result may mix two instants: the caller validates it,
// e.g. by its type.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/target.h"

// *ret is the address of the attribute's value; *ret_type that of the type of its name, which is
// str. SPY_ERR_NOTFOUND: there is no such attribute, or it is kept in another way; SPY_ERR_TORN.
int spy_py_attribute(const struct spy_target *t, const struct spy_py_layout *l, uint64_t object,
                     const char *name, uint64_t *ret, uint64_t *ret_type);
