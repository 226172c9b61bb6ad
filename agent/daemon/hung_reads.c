#include "agent/daemon/hung_reads.h"
#include <stdio.h>
#include <stdlib.h>

static void check_read(void *arg)
{
    enum { CHECKS = 10 };
    struct spy_hung_reads *r = arg;
    pid_t pid;
    uint64_t reading = spy_hung_mark_current(&r->mark);
    r->checks = reading && reading == r->reading ? r->checks + 1 : 1;
    r->reading = reading;
    if (reading && r->checks >= CHECKS && spy_hung_mark_claim(&r->mark, reading, &pid)) {
        r->give_up(r->arg, pid);
        abort();
    }
}

int spy_hung_reads_begin(struct spy_hung_reads *r, void (*give_up)(void *arg, pid_t pid), void *arg,
                         struct spy_err *err)
{
    r->give_up = give_up;
    r->arg = arg;
    return spy_every_new(1, check_read, r, &r->every, err);
}

void spy_hung_reads_end(struct spy_hung_reads *r)
{
    spy_every_free(r->every);
    r->every = NULL;
}

_Noreturn void spy_hung_reads_fail(void *arg, pid_t pid)
{
    (void)arg;
    fflush(stdout);
    fprintf(stderr, "Error: " SPY_HUNG_READ_TEXT "\n", (int)pid);
    _exit(EXIT_FAILURE);
}
