// value.h - the values of a target's objects as text, as repr() would show them.
//
// Nothing of the target runs: the text is made from the object's memory. It equals repr() of None,
// bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, frozendict, set, frozenset,
// collections.deque, range, slice, functions, classes and built-in exceptions, of subclasses of these
// that have no __repr__ of their own, and of named tuples. A subclass with its own __repr__ is
// shown as Name(what the base class would show). numpy's scalars are shown as numbers, and an array
// as <numpy.ndarray shape=(2, 3) dtype=float64>. From level 2 on, a dataclass is Name(a=1), an enum
// member <Name.MEMBER: 1>, and another instance <Name at 0x7f0012345678: a=1>, with what stands in
// its __dict__ and __slots__. All else is <name.of.its.type at 0x7f0012345678>.
//
// What could not be read is ?. A container inside of itself is as repr() shows it ([...]), and what
// is nested deeper than SPY_PY_VALUE_DEPTH or needs more than SPY_PY_VALUE_READS reads is "...". A
// text longer than the limit is cut, and its last three characters are "...". Every character that
// is not printable is escaped as repr() does it, but for code points that no character is assigned
// to, so that the text is safe for a terminal.
//
// The memory is hostile and may change while it is read. Then the text is wrong; the time, the
// memory and the length stay bounded all the same. For a text that was true at one instant the
// target must stand still: hold its thread, or all that may change the value (pause.h).
//
// Threads: a spy_py_values belongs to one thread at a time.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/target.h"
#include "shared/base/buf.h"
#include <stdbool.h>
#include <stddef.h>

enum {
    SPY_PY_VALUE_CHARS = 128, // of a value, for each level
    SPY_PY_VALUE_LEVEL_MAX = 32,
    SPY_PY_VALUE_DEPTH = 32,
    SPY_PY_VALUE_READS = 4096,
};

struct spy_py_value_options {
    unsigned level; // how often -l was given: 1 to SPY_PY_VALUE_LEVEL_MAX
    bool redact;    // *** instead of values whose names look like secrets
};

struct spy_py_values;

// Both pointers are borrowed for the whole life. NULL: out of memory. What it remembers of types
// holds as long as the target stands still: make a new one for each look at a running process.
struct spy_py_values *spy_py_values_new(const struct spy_target *t, const struct spy_py_layout *l,
                                        struct spy_py_value_options options);
void spy_py_values_free(struct spy_py_values *v);

// Appends the text of the object at addr, as UTF-8. `name` is what the target calls it; NULL: not
// known. 0, SPY_ERR_NOMEM or SPY_ERR_LIMIT (out's cap); SPY_ERR_GONE or SPY_ERR_DENIED where the
// target cannot be read at all any more, and nothing is appended then.
int spy_py_value_text(struct spy_py_values *v, const char *name, uint64_t addr,
                      struct spy_buf *out);

// Does the name of a variable, an attribute or a key look like that of a secret? Case and
// separators do not count: "api_key", "X-Api-Key" and "apiKey" all do.
bool spy_py_name_is_secret(const char *name);
