// What a Python of a version that nobody knows yet shows of itself: VERSION_HEX at the start of
// _PyRuntime, or only a text, as versions up to 3.6 do.
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#ifdef VERSION_HEX
struct {
    char cookie[8];
    uint64_t version, free_threaded, offsets[512];
} _PyRuntime = {.cookie = "xdebugpy", .version = VERSION_HEX};
#else
void *_PyThreadState_Current = &_PyThreadState_Current;
const char version[] = VERSION_TEXT;
#endif

int main(void)
{
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}
