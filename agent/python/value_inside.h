// value_inside.h - what the files of value.h share. Inside of agent/python.
//
//   value.c             a value's text from outside: limits, names, what kind of object it is
//   value_type.c        types: names, bases, which printer is for their objects
//   value_scalar.c      numbers
//   value_text.c        strings of characters and of bytes
//   value_container.c   lists, tuples, dicts, sets, deques, and what is made of them
//   value_dict.c        entries of dicts, and attributes of objects
//   value_instance.c    instances of classes, enum members, numpy's arrays
//
// A printer writes what it can and returns nothing: what could not be read is a "?" in the text.
// Whoever loops asks spy_value_is_done at each step.
#pragma once
#include "agent/python/objects.h"
#include "agent/python/value.h"

enum {
    SPY_VALUE_NAME_MAX = 96,   // bytes of a type's name and of an attribute's that are looked at
    SPY_VALUE_BASES_MAX = 24,  // base classes of a type
    SPY_VALUE_TYPES = 128,     // types that are remembered
    SPY_VALUE_ATTRIBUTES = 64, // of one object
    SPY_VALUE_BLOCK = 32,      // entries that are read at a time
    SPY_VALUE_SCAN = 4096,     // characters of a string that decide which quotes it gets
};

struct spy_value_type;
typedef void (*spy_value_printer)(struct spy_py_values *v, uint64_t addr,
                                  const struct spy_value_type *type);

struct spy_value_type {
    uint64_t addr; // 0: none
    uint64_t metatype, repr, base, dict, members, basicsize, itemsize, n_members;
    int64_t dictoffset;
    uint32_t flags;
    char name[SPY_VALUE_NAME_MAX + 1]; // tp_name, UTF-8
    spy_value_printer print;           // NULL: an object like any other
    bool own_repr;                     // another than the type that the printer is for
    bool is_enum;
    uint64_t fields; // of a named tuple the tuple of their names, of a dataclass the dict; 0: none
};

struct spy_py_values {
    const struct spy_target *target;
    const struct spy_py_layout *layout;
    struct spy_py_objects objects;
    struct spy_py_value_options options;
    struct spy_buf text; // of the value that is being printed
    size_t chars, chars_max, reads_left;
    bool is_full;
    int failed;     // SPY_ERR_GONE or SPY_ERR_DENIED
    bool in_fields; // those of a type are looked for just now
    uint64_t nested[SPY_PY_VALUE_DEPTH];
    size_t depth;
    struct spy_value_type types[SPY_VALUE_TYPES];
};

enum {
    SPY_FLAG_INLINE_VALUES = 1 << 2, // Py_TPFLAGS_*
    SPY_FLAG_MANAGED_DICT = 1 << 4,
    SPY_FLAG_HEAPTYPE = 1 << 9,
    SPY_FLAG_LONG_SUBCLASS = 1 << 24,
};

static inline bool spy_value_is_since(const struct spy_py_values *v, unsigned minor)
{
    return v->layout->major == 3 && v->layout->minor >= minor;
}

// --- value.c ---

// Exactly len bytes, or a code: SPY_ERR_LIMIT once the reads are used up.
int spy_value_read(struct spy_py_values *v, uint64_t addr, void *to, size_t len);
int spy_value_read_word(struct spy_py_values *v, uint64_t addr, uint64_t *ret);
// A character as UTF-8, and its length.
size_t spy_value_encode(uint32_t code, char out[4]);
void spy_value_put_char(struct spy_py_values *v, uint32_t code);
void spy_value_puts(struct spy_py_values *v, const char *ascii);
void spy_value_printf(struct spy_py_values *v, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
// Nothing more can be appended, or read.
bool spy_value_is_done(const struct spy_py_values *v);
// One object, whatever it is.
void spy_value_print(struct spy_py_values *v, uint64_t addr);
// The same as the value of what has this name.
void spy_value_print_named(struct spy_py_values *v, const char *name, uint64_t addr);
// <name at 0x...>
void spy_value_print_opaque(struct spy_py_values *v, uint64_t addr, const char *name);
// To be called before the parts of an object are printed: false where it is inside of itself, or
// too deep; then `again` was printed. spy_value_leave afterwards.
bool spy_value_enter(struct spy_py_values *v, uint64_t addr, const char *again);
void spy_value_leave(struct spy_py_values *v);

// --- value_type.c ---

// What the type object at addr says of itself, read at each call: all but print, own_repr,
// is_enum and fields, which take more reads.
int spy_value_load_type(struct spy_py_values *v, uint64_t addr, struct spy_value_type *ret);
// The type at addr, and the type of an object. The codes of spy_value_read; SPY_ERR_TORN where
// there is none.
int spy_value_read_type(struct spy_py_values *v, uint64_t addr, struct spy_value_type *ret);
int spy_value_type_of(struct spy_py_values *v, uint64_t object, struct spy_value_type *ret);
// The name without what stands before its last dot.
const char *spy_value_short_name(const struct spy_value_type *type);
// Is the type's name that of a type of the interpreter or of an extension, not of a class that
// Python code made?
bool spy_value_is_builtin(const struct spy_value_type *type);

// --- value_scalar.c ---

// A bool's value. SPY_ERR_TORN where the object is not one.
int spy_value_read_bool(struct spy_py_values *v, uint64_t addr, bool *ret);

// --- value_text.c ---

// The text of a str (or bytes, as Latin-1) for comparisons: UTF-8, cut to size, and "" where the
// object is neither.
void spy_value_peek_text(struct spy_py_values *v, uint64_t addr, char *out, size_t size);
// The same for text that the C code of the target names.
int spy_value_peek_c_string(struct spy_py_values *v, uint64_t addr, char *out, size_t size);
// As spy_value_put_char does it, but quotes nothing: a name.
void spy_value_put_name(struct spy_py_values *v, const char *utf8);

// --- value_dict.c ---

struct spy_value_dict {
    uint64_t entries, n, i; // i: the next
    uint64_t values;        // 0: beside the keys
    size_t words;           // of an entry
    uint8_t order[32];      // of a split table since 3.11, the order in which values were set
    size_t n_order;         // 0: the order of the keys
    uint64_t block[SPY_VALUE_BLOCK * 3];
    uint64_t block_first, block_n;
};

int spy_value_open_dict(struct spy_py_values *v, uint64_t dict, struct spy_value_dict *ret);
// 1: the next entry; 0: there is none; or a code.
int spy_value_next_entry(struct spy_py_values *v, struct spy_value_dict *d, uint64_t *ret_key,
                         uint64_t *ret_value);
// The value of a key that is a str, in an open dict's first thousand entries. SPY_ERR_NOTFOUND.
int spy_value_find_key(struct spy_py_values *v, uint64_t dict, const char *key, uint64_t *ret);
// What stands in the __dict__ of an object, as a dict, whichever way it keeps it. SPY_ERR_NOTFOUND:
// it has none.
int spy_value_open_attributes(struct spy_py_values *v, uint64_t object,
                              const struct spy_value_type *type, struct spy_value_dict *ret);

// An attribute of an object, in its __dict__ or one of its __slots__.
struct spy_value_attribute {
    char name[SPY_VALUE_NAME_MAX + 1];
    uint64_t value;
};
struct spy_value_attributes {
    struct spy_value_attribute list[SPY_VALUE_ATTRIBUTES];
    size_t n;
    bool more; // than could be listed
};
// What could be read, which may be nothing.
void spy_value_list_attributes(struct spy_py_values *v, uint64_t object,
                               const struct spy_value_type *type, struct spy_value_attributes *ret);
const struct spy_value_attribute *spy_value_attribute(const struct spy_value_attributes *a,
                                                      const char *name);

// --- value_instance.c ---

// True if the type is a class that Python code made, and its objects are shown by their attributes:
// no printer is for it, or it is an enum.
bool spy_value_is_instance(const struct spy_value_type *type);

// --- printers ---

void spy_value_print_bool(struct spy_py_values *v, uint64_t addr,
                          const struct spy_value_type *type);
void spy_value_print_int(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type);
void spy_value_print_float(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type);
void spy_value_print_complex(struct spy_py_values *v, uint64_t addr,
                             const struct spy_value_type *type);
void spy_value_print_number(struct spy_py_values *v, uint64_t addr,
                            const struct spy_value_type *type);
void spy_value_print_str(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type);
void spy_value_print_bytes(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type);
void spy_value_print_bytearray(struct spy_py_values *v, uint64_t addr,
                               const struct spy_value_type *type);
void spy_value_print_list(struct spy_py_values *v, uint64_t addr,
                          const struct spy_value_type *type);
void spy_value_print_tuple(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type);
void spy_value_print_dict(struct spy_py_values *v, uint64_t addr,
                          const struct spy_value_type *type);
void spy_value_print_frozendict(struct spy_py_values *v, uint64_t addr,
                                const struct spy_value_type *type);
void spy_value_print_set(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type);
void spy_value_print_frozenset(struct spy_py_values *v, uint64_t addr,
                               const struct spy_value_type *type);
void spy_value_print_deque(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type);
void spy_value_print_slice(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type);
void spy_value_print_range(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type);
void spy_value_print_exception(struct spy_py_values *v, uint64_t addr,
                               const struct spy_value_type *type);
void spy_value_print_class(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type);
void spy_value_print_function(struct spy_py_values *v, uint64_t addr,
                              const struct spy_value_type *type);
void spy_value_print_array(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type);
void spy_value_print_instance(struct spy_py_values *v, uint64_t addr,
                              const struct spy_value_type *type);
