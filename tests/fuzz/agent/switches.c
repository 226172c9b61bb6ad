// The text of /proc/PID/task/TID/sched, whose first line has the thread's name.
#include "agent/target/switches.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_thread_switches s = {.n = 0};
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    if (!spy_thread_switches_parse(text, &s) && (s.n || s.updated_ns))
        abort();
    free(text);
    return 0;
}
