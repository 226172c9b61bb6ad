// code.h - a cache of a target's code objects: names, file, the line of every instruction.
//
// An address does not identify a code object, because freed memory is soon reused: a program that
// executes a thousand snippets may use one address for all of them. So each sample checks the code
// objects of the frames that changed since the previous sample: it reads the header's fields and the
// starts of the qualified name, the file name and the line table again and compares them with the
// cache. A difference makes a new entry with a new id; an id never stands for another code object.
//
// Bounded: past SPY_CODES_MAX entries or SPY_CODE_BYTES_MAX bytes the cache is emptied and `epoch`
// rises; ids of an older epoch mean nothing.
#pragma once
#include "agent/python/layout.h"
#include "agent/python/linetable.h"
#include "agent/target/target.h"
#include "shared/base/map.h"

enum {
    SPY_CODES_MAX = 1 << 16,
    SPY_CODE_BYTES_MAX = 24 << 20,
    SPY_CODE_UNITS_MAX = 1 << 20, // instructions whose lines are kept; the rest have line 0
    SPY_CODE_HEAD = 256,          // room for the fields; layout.co_head bytes of it are read
    SPY_CODE_PEEK = 96,           // bytes compared of the name, the file name and the line table
    SPY_CODE_SETTLED = 64,        // after so many checks that found it unchanged,
    SPY_CODE_RECHECK = 8,         // it is checked in one of so many samples
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
    uint32_t checks;     // how often it was found unchanged
    bool restless;       // its address has held another code object before
    bool replaced;       // another code object is at its address now
    // Free-threaded 3.14+: the copies of its bytecode that threads were seen to run.
    struct spy_code_copy {
        int32_t index;
        uint32_t generation;
        uint64_t addr; // 0: none
    } copies[SPY_CODE_COPIES];
    uint32_t user[2]; // the owner's: e.g. its id in a profile, and the epoch of that
};

struct spy_codes {
    const struct spy_target *target;
    const struct spy_py_layout *layout;
    struct spy_code **list; // by id
    size_t n, cap, bytes;
    struct spy_code_addr {
        uint64_t addr;
        int32_t newest; // the id of the code object there now
    } * addrs;
    size_t n_addrs, addrs_cap;
    struct spy_map map; // hash of an address -> its place in addrs
    uint32_t epoch;
    uint64_t type;    // address of the code type, learned from the first code object; 0: not yet
    bool miscounted;  // the count in spy_codes_when was found wrong and is ignored
    bool fresh;       // the last spy_codes_resolve met an unknown code object
    bool keep_tables; // spy_codes_keep_tables was called, and tables have columns
};

void spy_codes_init(struct spy_codes *c, const struct spy_target *t, const struct spy_py_layout *l);
void spy_codes_done(struct spy_codes *c);
// Keeps line tables from now on, which spy_code_location needs and a sampler does not. Empties the
// cache.
void spy_codes_keep_tables(struct spy_codes *c);

// True if this type's name is "code". The text is a constant of the program: a core file without
// the program's file lacks it, and then the type is accepted, since everything else must still fit.
bool spy_code_is_type(const struct spy_target *t, const struct spy_py_layout *l, uint64_t type);

// When the addresses to resolve were read: a number that rises with each read, and, where the
// interpreter counts how often it freed (3.14+) or made (3.13) a code object, a hash of that count,
// taken after the read; 0: the interpreter keeps no such count.
struct spy_codes_when {
    uint64_t sample, generation;
    uint32_t next_version; // 3.13: that count itself; 0: none
};

// Empties the cache if n more entries would not fit. Call it before using ids obtained earlier.
void spy_codes_make_room(struct spy_codes *c, size_t n);
// True if this code object must be checked again. Where the interpreter keeps no count, a code
// object that was often found unchanged is checked rarely, unless its address has held another.
bool spy_codes_due(const struct spy_codes *c, int32_t id, struct spy_codes_when when);

// True if the code object at addr is known and settled: the count shows that nothing has changed
// since it was checked, or, without a count, it was found unchanged SPY_CODE_SETTLED times; and its
// address never held another. id: what the address held before, or SPY_CODE_NONE.
bool spy_codes_settled(const struct spy_codes *c, uint64_t addr, int32_t id,
                       struct spy_codes_when when);

// Finds the ids of the code objects at addrs[0..n-1]. Checks them against the target unless that
// was done in this sample or nothing can have changed since. ids[i] is what the address held
// before, or SPY_CODE_NONE, and becomes an id, or SPY_CODE_NONE if there is no code object. Returns
// 0, or the code of a failed read. Call spy_codes_make_room first.
//
// An unknown code object is read after the addresses were, so its memory may hold another by then.
// c->fresh says so. Then read the addresses again: the ids are right only if the addresses resolve
// without c->fresh.
int spy_codes_resolve(struct spy_codes *c, struct spy_codes_when when, const uint64_t *addrs,
                      int32_t *ids, size_t n);
// A code object may have several copies of its bytecode. Returns the address of the first
// instruction of the copy that a frame with this tlbc_index runs (_PyCodeArray,
// Include/cpython/code.h); 0: not known. generation: that of the copies when the frame was read.
uint64_t spy_codes_bytecode(struct spy_codes *c, int32_t id, int32_t index, uint32_t generation);
struct spy_code *spy_codes_at(const struct spy_codes *c, int32_t id);
// co_flags (Include/code.h) of a code object.
uint32_t spy_code_flags(const struct spy_codes *c, int32_t id);
// The line of an instruction; 0: not known.
static inline uint32_t spy_code_line(const struct spy_code *code, int64_t unit)
{
    return unit >= 0 && unit < code->n_lines ? code->lines[unit] : code->first_line;
}
// The line of an instruction and its columns. All 0 where that is not known: before 3.11, without
// kept tables, before the first instruction. Costs a pass over the table.
struct spy_location spy_code_location(const struct spy_code *code, int64_t unit);
