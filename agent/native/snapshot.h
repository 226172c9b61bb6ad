// snapshot.h - what was copied of a thread while it was held: its registers and pieces of its stack.
#pragma once
#include "agent/native/arch.h"
#include "agent/target/target.h"

enum {
    SPY_NATIVE_STACK_USUAL = 16 << 10, // bytes copied of a thread that was not seen before
    SPY_NATIVE_STACK_MAX = 1 << 20,    // bytes copied at most, of threads that proved to need them
    SPY_NATIVE_PIECE = 64 << 10,       // bytes copied where a stack continues elsewhere
    SPY_NATIVE_PIECES_MAX = 2,
};

// Zeroed at first and used again for any number of captures, of any threads. Whoever has registers
// and a stack from elsewhere (a core file) fills it himself.
struct spy_native_piece {
    uint64_t start; // its first address
    size_t at, len; // its bytes in `stack`
};

struct spy_native_snapshot {
    pid_t tid;
    struct spy_native_regs regs;
    uint8_t *stack; // `len` bytes, from the stack pointer on, and the pieces behind them
    size_t len, cap;
    struct spy_native_piece more[SPY_NATIVE_PIECES_MAX];
    size_t n_more;
};
void spy_native_snapshot_done(struct spy_native_snapshot *s);

// The rest is for agent/native itself.

// Copies the registers and `want` bytes of the stack, or fewer where the mapping ends: at `end`, if
// that is known (else 0). The codes of spy_native_capture.
int spy_snapshot_take(struct spy_native_snapshot *s, const struct spy_target *t, pid_t tid,
                      size_t want, uint64_t end);
// Copies a piece more, SPY_NATIVE_PIECE bytes from `start` on. False: no room, or not readable.
bool spy_snapshot_add_piece(struct spy_native_snapshot *s, const struct spy_target *t,
                            uint64_t start);

// A word of the stack, from any piece; context is the snapshot. SPY_ERR_LIMIT: it was not copied.
int spy_snapshot_word(const void *context, uint64_t addr, uint64_t *ret);
// Whether the address is more of the same stack: above the stack pointer, not absurdly far.
bool spy_snapshot_is_above(const struct spy_native_snapshot *s, uint64_t addr);
