// The debug offsets that a hostile interpreter publishes.
#include "agent/python/layout.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t version;
    bool free_threaded;
    spy_py_debug_offsets_version(data, size, &version, &free_threaded);
    struct spy_py_layout l = *spy_py_layout_find(3, 13);
    if (spy_py_layout_apply(&l, data, size) < 0)
        return 0;
    // What the readers count on: see struct spy_py_read and SPY_CODE_HEAD.
    if (l.ts_size > 512 || l.co_code > 256 || l.f_size > 128 || l.f_code + 8 > l.f_size ||
        l.f_previous + 8 > l.f_size || l.f_ip + 8 > l.f_size || l.f_owner >= l.f_size)
        abort();
    const uint16_t code[] = {l.co_filename, l.co_name, l.co_qualname, l.co_linetable};
    for (int i = 0; i < 4; i++)
        if (code[i] + 8 > l.co_code)
            abort();
    if (l.co_firstlineno + 4 > l.co_code)
        abort();
    return 0;
}
