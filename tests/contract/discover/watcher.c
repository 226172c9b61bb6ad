// discover_watcher CONFIG SECONDS: discovers and samples as `podspy agent` does, with no collector.
// Prints a line for what happens: "added PID", "exec PID", "removed PID", "samples N" at the end.
#include "agent/discover/discover.h"
#include "agent/sampler/sampler.h"
#include "shared/base/clock.h"
#include <stdio.h>
#include <stdlib.h>

static void on_process(void *arg, enum spy_discover_event event, const struct spy_process *p)
{
    static const char *const names[] = {"added", "exec", "removed"};
    printf("%s %d\n", names[event], (int)p->pid);
    fflush(stdout);
    if (event == SPY_DISCOVER_REMOVED) {
        spy_sampler_remove(arg, p->pid);
        return;
    }
    struct spy_sampler_process sp = {.pid = p->pid, .rate = p->rate};
    spy_sampler_add(arg, &sp, NULL);
}

int main(int argc, char **argv)
{
    struct spy_agent_config config = {0};
    struct spy_discover *d = NULL;
    struct spy_sampler *s = NULL;
    struct spy_err err = {0};
    uint64_t seconds = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    if (!seconds || spy_agent_config_load(argv[1], &config, &err) < 0 ||
        spy_discover_new(&config, "/proc", &d, &err) < 0 ||
        spy_sampler_new(&(struct spy_sampler_options){0}, &s, &err) < 0) {
        fprintf(stderr, "discover_watcher: %s\n", err.msg);
        return 1;
    }
    uint64_t end = spy_clock_mono_ns() + seconds * SPY_NS_PER_SEC;
    while (spy_clock_mono_ns() < end) {
        if (spy_discover_poll(d, on_process, s, &err) < 0)
            fprintf(stderr, "discover_watcher: %s\n", err.msg);
        spy_sampler_run(s, spy_clock_mono_ns() + 100 * SPY_NS_PER_MS, NULL);
    }
    printf("samples %llu\n", (unsigned long long)spy_sampler_totals(s).samples);
    spy_sampler_free(s);
    spy_discover_free(d);
    spy_agent_config_free(&config);
    return 0;
}
