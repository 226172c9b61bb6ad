// A static program without dynamic symbols: tells where its own variable is, and waits.
#include <stdio.h>
#include <unistd.h>

int spy_static_variable = 1;

int main(void)
{
    printf("%p\n", (void *)&spy_static_variable);
    fflush(stdout);
    for (;;)
        pause();
}
