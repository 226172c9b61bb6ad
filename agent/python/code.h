// code.h - code objects of a target: names, file, the line of every instruction; kept and checked.
//
// A code object's address says little: a freed one's memory is soon another's (a program that calls
// exec a thousand times uses one address for all of them). So each sample checks the code objects
// of those frames that changed since the last: the header's fields, the starts of the qualified
// name, of the file name and of the line table are read again and compared with what was kept. A
// difference makes a new entry with a new id; an id stands for one code object for ever.
//
// Bounded: past SPY_CODES_MAX entries or SPY_CODE_BYTES_MAX bytes everything is forgotten and
// `epoch` rises; ids of an older epoch mean nothing.
#pragma once
#include "agent/python/layout.h"
#include "agent/python/linetable.h"
#include "agent/target/target.h"
#include "shared/base/map.h"

enum {
    SPY_CODES_MAX = 1 << 16,
    SPY_CODE_BYTES_MAX = 24 << 20,
    SPY_CODE_UNITS_MAX = 1 << 20, // instructions whose lines are kept; what lies beyond has line 0
    SPY_CODE_HEAD = 256,          // room for the fields; layout.co_head bytes of it are read
    SPY_CODE_PEEK = 96,           // bytes compared of its name, file name and line table
    SPY_CODE_SETTLED = 64,        // checks that must have found it unchanged
    SPY_CODE_RECHECK = 8,         // samples between two checks from then on
    SPY_CODE_COPIES = 4,
    SPY_CODE_VERSION = 92, // co_version, where layout.interp_next_version is
    SPY_CODE_NONE = -1,
};

struct spy_code {
    uint64_t addr;
    uint8_t head[SPY_CODE_HEAD];
    uint8_t name_peek[SPY_CODE_PEEK], file_peek[SPY_CODE_PEEK], lines_peek[SPY_CODE_PEEK];
    uint32_t units;           // code units of the bytecode (ob_size)
    uint32_t frame_bytes;     // that one frame of it takes on the data stack
    uint32_t first_traceable; // units before this one run before the function's own first line
    uint32_t first_line;
    char *name, *filename; // UTF-8, owned
    uint32_t *lines;       // by code unit, owned
    uint8_t *table;        // the line table itself, owned; NULL where tables are not kept
    uint32_t n_lines, n_table;
    uint64_t checked;    // the sample that last found it unchanged
    uint64_t generation; // of its interpreter, when it was last found unchanged
    uint32_t checks;     // how often it was
    bool restless;       // its address has held another code object before
    bool replaced;       // another one stands at its address now
    // Free-threaded 3.14+: where the copies of the bytecode are that threads were seen to run.
    struct spy_code_copy {
        int32_t index;
        uint32_t generation;
        uint64_t addr; // 0: none
    } copies[SPY_CODE_COPIES];
    uint32_t user[2]; // the owner's: what this code is in the profile of this epoch (0: not yet)
};

struct spy_codes {
    const struct spy_target *target;
    const struct spy_py_layout *layout;
    struct spy_code **list; // by id
    size_t n, cap, bytes;
    struct spy_code_addr {
        uint64_t addr;
        int32_t newest; // the id that stands there now
    } * addrs;
    size_t n_addrs, addrs_cap;
    struct spy_map map; // hash of an address -> its place in addrs
    uint32_t epoch;
    uint64_t type;    // address of the code type, learned from the first; 0: not yet
    bool miscounted;  // the count of spy_codes_when was found to be wrong: it is not used
    bool fresh;       // the last spy_codes_resolve met one that it did not know
    bool keep_tables; // spy_codes_keep_tables was called, and they have columns
};

void spy_codes_init(struct spy_codes *c, const struct spy_target *t, const struct spy_py_layout *l);
void spy_codes_done(struct spy_codes *c);
// Keeps line tables from now on, which spy_code_location needs and a sampler does not. Forgets
// what was read without.
void spy_codes_keep_tables(struct spy_codes *c);

// Does this type call itself "code"? The text is a constant of the program: a core file without the
// program's file lacks it, and there the type is believed, for all else still has to fit.
bool spy_code_is_type(const struct spy_target *t, const struct spy_py_layout *l, uint64_t type);

// When the addresses that are asked for were read: a number that rises with each read, and, where
// the interpreter counts how often it freed a code object (3.14+) or made one (3.13), a
// number that differs when that count, as it stood after they were read, differs; 0: it does not.
struct spy_codes_when {
    uint64_t sample, generation;
    uint32_t next_version; // that count of 3.13 itself; 0: none
};

// Forgets everything if n more would be too many. Before ids of before are used.
void spy_codes_make_room(struct spy_codes *c, size_t n);
// Is it time to look at it again? Where nothing is counted, one that was found unchanged ever more
// often is looked at ever more rarely, unless its address has held another.
bool spy_codes_due(const struct spy_codes *c, int32_t id, struct spy_codes_when when);

// Is the one at addr known, and as it has long been: the count says that nothing has changed since
// it was checked, or, where nothing is counted, it was found unchanged SPY_CODE_SETTLED times, and
// its address never held another? id: what the address held before, or SPY_CODE_NONE.
bool spy_codes_settled(const struct spy_codes *c, uint64_t addr, int32_t id,
                       struct spy_codes_when when);

// The ids of the code objects at addrs[0..n-1], checked against the target unless they were in this
// sample or nothing can have changed since. ids[i] is what the address held before, or
// SPY_CODE_NONE, and becomes an id or SPY_CODE_NONE where there is no code object. Returns 0, or a
// code when the target could not be read. spy_codes_make_room first.
//
// A code object that is met for the first time is read after the addresses were: it may be another
// than the one that was there then. c->fresh says so; read the addresses again, and only if they
// resolve without it are the ids those of what was there.
int spy_codes_resolve(struct spy_codes *c, struct spy_codes_when when, const uint64_t *addrs,
                      int32_t *ids, size_t n);
// The address of the first instruction of that copy of a code object's bytecode which a frame with
// this tlbc_index runs (_PyCodeArray, Include/cpython/code.h); 0: not known. The generation is that
// of the copies when the frame was read.
uint64_t spy_codes_bytecode(struct spy_codes *c, int32_t id, int32_t index, uint32_t generation);
struct spy_code *spy_codes_at(const struct spy_codes *c, int32_t id);
// co_flags (Include/code.h) of a code object.
uint32_t spy_code_flags(const struct spy_codes *c, int32_t id);
// The line of an instruction; 0: not known.
static inline uint32_t spy_code_line(const struct spy_code *code, int64_t unit)
{
    return unit >= 0 && unit < code->n_lines ? code->lines[unit] : code->first_line;
}
// The line of an instruction and its columns. All is 0 where that is not known: before 3.11, of
// tables that were not kept, before the first instruction. Costs a walk through the table.
struct spy_location spy_code_location(const struct spy_code *code, int64_t unit);
