// arch.h - the registers of this machine by their DWARF numbers (System V psABI, x86-64: figure
// 3.36; DWARF for the Arm 64-bit Architecture, section 4.1).
#pragma once
#include <elf.h>
#include <stdint.h>
#include <sys/user.h>

#if defined(__x86_64__)
enum {
    SPY_REG_FP = 6,
    SPY_REG_SP = 7,
    SPY_REG_PC = 16, // also the column of the return address
    SPY_N_REGS = 17,
    SPY_ELF_MACHINE = EM_X86_64,
};
#elif defined(__aarch64__)
enum {
    SPY_REG_FP = 29,
    SPY_REG_SP = 31,
    SPY_REG_PC = 32,
    SPY_N_REGS = 33,
    SPY_ELF_MACHINE = EM_AARCH64,
};
#else
#error "native stacks are read on x86-64 and AArch64 only"
#endif

struct spy_native_regs {
    uint64_t r[SPY_N_REGS];
};

static inline void spy_regs_of_user(const struct user_regs_struct *u, struct spy_native_regs *ret)
{
#if defined(__x86_64__)
    *ret = (struct spy_native_regs){{u->rax, u->rdx, u->rcx, u->rbx, u->rsi, u->rdi, u->rbp, u->rsp,
                                     u->r8, u->r9, u->r10, u->r11, u->r12, u->r13, u->r14, u->r15,
                                     u->rip}};
#else
    for (int i = 0; i < SPY_REG_SP; i++)
        ret->r[i] = u->regs[i];
    ret->r[SPY_REG_SP] = u->sp;
    ret->r[SPY_REG_PC] = u->pc;
#endif
}

// A return address without the signature that pointer authentication puts into its upper bits.
static inline uint64_t spy_regs_plain_address(uint64_t address)
{
#if defined(__aarch64__)
    return address & 0x0000ffffffffffff;
#else
    return address;
#endif
}
