// code.h - where a function without unwind tables keeps its return address, by its instructions.
// musl's functions have neither tables nor frame pointers, and so has code that was written by hand.
//
// From the instruction at hand the way to a `ret` is followed, at most SPY_CODE_STEPS_MAX
// instructions, and what they do to the stack pointer and the frame pointer is added up. Any way
// will do: at one instruction the stack is equally deep on all ways. Calls are passed over, of
// conditional jumps the other way is tried where the first leads nowhere. Only x86-64; elsewhere
// nothing is found.
//
// The code is hostile. Whoever uses a row checks that it leads behind a call.
#pragma once
#include "agent/native/cfi.h"
#include "agent/target/target.h"

enum { SPY_CODE_STEPS_MAX = 2000 };

// pc: the instruction that runs or runs next, in the target's memory. limit: where another function
// begins, which nothing runs into; UINT64_MAX: not known. SPY_ERR_NOTFOUND.
int spy_code_row(const struct spy_target *t, uint64_t pc, uint64_t limit, struct spy_cfi_row *ret);

// The number of bytes of the instruction, 0: it is not known, or is cut.
size_t spy_code_length(const uint8_t *code, size_t len);
