// A program that spends its time in inlined calls, at lines that are known.
#include <stdint.h>
#include <unistd.h>

static volatile uint64_t turns;
static volatile int is_over; // never

#define INLINE static inline __attribute__((always_inline))

#line 100 "inner.h"
INLINE void spin_inlined(void)
{
    while (!is_over)
        turns++;
}

#line 200 "between.h"
INLINE void call_inlined(int n)
{
    if (n)
        spin_inlined();
}

#line 300 "outer.c"
__attribute__((noinline)) static void has_inlined(int n)
{
    turns++;
    call_inlined(n);
    turns++;
}

int main(int argc, char **argv)
{
    (void)argv;
    if (write(1, "r", 1) != 1)
        return 1;
    has_inlined(argc);
    return 0;
}
