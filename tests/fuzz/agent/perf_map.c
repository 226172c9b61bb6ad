// A hostile /tmp/perf-PID.map.
#include "agent/native/perf_map.h"
#include "../fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_perf_map m;
    char *text = malloc(size + 1);
    MUST(text);
    memcpy(text, data, size);
    text[size] = 0;
    if (spy_perf_map_parse(text, size, &m) < 0)
        return 0;
    for (size_t i = 0; i < m.n; i++) {
        const char *name = spy_perf_map_find(&m, m.list[i].start);
        MUST(name && name > m.text && name + strlen(name) <= m.text + size);
    }
    spy_perf_map_done(&m);
    return 0;
}
