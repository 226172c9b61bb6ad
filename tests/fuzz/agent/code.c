// Hostile code of a function without tables. The target is this process.
#include "agent/native/code.h"
#include "../fuzz.h"
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct spy_target *self;
    struct spy_cfi_row row;
    if (!self && spy_target_open(getpid(), &self, NULL) < 0)
        return 0;
    MUST(spy_code_length(data, size) <= size);
    if (size && spy_code_row(self, (uint64_t)(uintptr_t)data, UINT64_MAX, &row) == 0) {
        MUST(row.cfa_register < SPY_N_REGS && row.return_register < SPY_N_REGS);
        MUST(!(row.has >> SPY_N_REGS));
    }
    return 0;
}
