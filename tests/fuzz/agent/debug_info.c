// A hostile file: its debugging information.
#include "agent/native/debug_info.h"
#include "../fuzz.h"
#include "agent/native/demangle.h"
#include "shared/base/mem.h"
#include <string.h>

enum { TRIED_MAX = 64 };

static void ask_lines(struct spy_debug_info *d, uint64_t address)
{
    struct spy_debug_line lines[SPY_DEBUG_LINES_MAX];
    size_t n = spy_debug_info_find(d, address, lines);
    MUST(n <= SPY_DEBUG_LINES_MAX);
    for (size_t i = 0; i < n; i++)
        MUST(!lines[i].function || strlen(lines[i].function) <= SPY_DEMANGLED_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_elf e;
    struct spy_debug_info d;
    if (spy_elf_open_bytes(data, size, &e) < 0)
        return 0;
    if (spy_debug_info_load(&e, (size_t)16 << 20, &d) == 0) {
        for (size_t i = 0; i < spy_min(d.n_ranges, TRIED_MAX); i++)
            for (uint64_t at = 0; at < 256; at = 2 * at + 1)
                ask_lines(&d, d.ranges[i].start + at);
        spy_debug_info_done(&d);
    }
    spy_elf_done(&e);
    return 0;
}
