// cfi.h - DWARF call frame information: for an address, where the registers of the caller are.
//
// The source is .eh_frame (LSB 5.0, section 10.6) or .debug_frame (DWARF 5, section 6.4), read
// whole and kept for as long as the module lives. An index of its functions is built by one pass
// over it rather than taken from .eh_frame_hdr: there is one way for files with and without that
// table, and no second table that could lie. Everything is bounded: no offset leaves the section, a
// program runs at most SPY_CFI_STEPS_MAX instructions.
//
// Cost: the pass takes some 60 ns a function. spy_cfi_find takes 0.2 to 2 us and allocates nothing;
// unwind.c keeps its answers.
#pragma once
#include "agent/native/arch.h"
#include "agent/native/elf_file.h"

enum { SPY_CFI_BYTES_MAX = 64 << 20, SPY_CFI_STEPS_MAX = 4096 };

struct spy_cfi_function {
    uint64_t start; // as in the file
    uint32_t size;
    uint32_t fde; // its place in the section
};

struct spy_cfi {
    uint8_t *bytes; // of the section
    size_t len;
    uint64_t vaddr; // of its first byte
    bool is_debug_frame;
    struct spy_cfi_function *functions;
    size_t n_functions, cap_functions;
};

enum spy_cfi_kind {
    SPY_CFI_SAME, // as in this frame
    SPY_CFI_UNDEFINED,
    SPY_CFI_AT_CFA,   // stored at CFA + value
    SPY_CFI_CFA_PLUS, // is CFA + value
    SPY_CFI_REGISTER, // in the register `value`
    SPY_CFI_AT_EXPRESSION,
    SPY_CFI_EXPRESSION, // `value` is the place of the expression's length in the section
};

// The rules at one address.
struct spy_cfi_row {
    uint64_t has; // bit i: register i is not SPY_CFI_SAME
    int32_t cfa_value;
    uint8_t cfa_register;
    bool cfa_is_expression;
    bool is_signal; // a frame that the kernel made: its caller was interrupted, it did not call
    uint8_t return_register;
    uint8_t kinds[SPY_N_REGS];
    int32_t values[SPY_N_REGS];
};

// SPY_ERR_NOTFOUND: the file has no such section; SPY_ERR_LIMIT: with its index it would take more
// than max_bytes; SPY_ERR_INVALID, SPY_ERR_NOMEM.
int spy_cfi_load(const struct spy_elf *e, size_t max_bytes, struct spy_cfi *ret);
// The same of .debug_frame: what compilers write where no exceptions are to be thrown, for
// debuggers.
int spy_cfi_load_debug(const struct spy_elf *e, size_t max_bytes, struct spy_cfi *ret);
size_t spy_cfi_bytes(const struct spy_cfi *c);
void spy_cfi_done(struct spy_cfi *c);
// pc as in the file. SPY_ERR_NOTFOUND: no function covers it; SPY_ERR_UNSUPPORTED: it makes no
// sense or needs what we do not know.
int spy_cfi_find(const struct spy_cfi *c, uint64_t pc, struct spy_cfi_row *ret);

// A DWARF expression (DWARF 5, section 2.5), by the place of its length. `read` reads 8 bytes of
// the stack: 0 or a negative code. with_cfa: cfa is on the stack at first.
typedef int spy_cfi_reader(const void *context, uint64_t addr, uint64_t *ret);
int spy_cfi_evaluate(const struct spy_cfi *c, int32_t place, const struct spy_native_regs *regs,
                     const uint64_t *cfa, spy_cfi_reader *read, const void *context, uint64_t *ret);
