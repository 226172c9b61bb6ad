// The text of /proc/PID/maps, whose paths the target chooses.
#include "agent/target/maps.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_maps m = {0};
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    if (spy_maps_parse(text, &m) == 0) {
        for (size_t i = 0; i < m.n; i++)
            if (strlen(spy_maps_path(&m, &m.list[i])) > size)
                abort();
        if (m.n)
            spy_maps_find(&m, m.list[m.n / 2].start);
        spy_maps_free(&m);
    }
    free(text);
    return 0;
}
