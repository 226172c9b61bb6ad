// A library that a program opens while it runs.
#include <stdint.h>

static volatile uint64_t plugin_counter;

void plugin_run(void (*body)(void));

__attribute__((noinline)) static void plugin_inner(void (*body)(void))
{
    body();
    plugin_counter++;
}

void plugin_run(void (*body)(void))
{
    plugin_inner(body);
    plugin_counter++;
}
