#include "agent/cli/reads.h"
#include "agent/cli/cli.h"
#include <stdlib.h>

static void look(void *arg)
{
    enum { LOOKS = 10 };
    struct spy_cli_reads *r = arg;
    pid_t pid;
    uint64_t reading = spy_watch_reading(&r->watch);
    r->looks = reading && reading == r->reading ? r->looks + 1 : 1;
    r->reading = reading;
    if (reading && r->looks >= LOOKS && spy_watch_claim(&r->watch, reading, &pid)) {
        r->give_up(r->arg, pid);
        abort();
    }
}

int spy_cli_reads_begin(struct spy_cli_reads *r, void (*give_up)(void *arg, pid_t pid), void *arg,
                        struct spy_err *err)
{
    r->give_up = give_up;
    r->arg = arg;
    return spy_every_new(1, look, r, &r->every, err);
}

void spy_cli_reads_end(struct spy_cli_reads *r)
{
    spy_every_free(r->every);
    r->every = NULL;
}

_Noreturn void spy_cli_reads_fail(void *arg, pid_t pid)
{
    (void)arg;
    fflush(stdout);
    fprintf(stderr, "Error: " SPY_CLI_NEVER_READ "\n", (int)pid);
    _exit(SPY_EXIT_FAILED);
}
