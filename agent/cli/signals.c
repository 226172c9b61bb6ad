#include "agent/cli/signals.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

_Atomic int spy_cli_stop;
_Atomic unsigned spy_cli_snapshots;
static struct {
    int number;
    struct sigaction before; // as podspy inherited it
} caught[] = {{.number = SIGINT},  {.number = SIGTERM}, {.number = SIGHUP},
              {.number = SIGPIPE}, {.number = SIGCHLD}, {.number = SIGUSR1}};
static _Atomic bool by_terminal;
static bool leads_session;
static _Atomic uint64_t latest_ns;

// The kernel sends a terminal's signals to the whole foreground group, except SIGHUP, which only the
// session leader gets while it lives (tty_signal_session_leader, drivers/tty).
static void handle_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    atomic_store(&latest_ns, spy_clock_mono_ns());
    if (spy_cli_stop)
        return;
    by_terminal = info->si_code == SI_KERNEL && !(number == SIGHUP && leads_session);
    spy_cli_stop = number;
}

static void catch_signal(int number, const struct sigaction *handle, const struct sigaction *before)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN}, usual = {.sa_handler = SIG_DFL};
    if (number == SIGUSR1) // spy_cli_catch_snapshots
        return;
    if (number == SIGPIPE)
        sigaction(number, &ignore, NULL);
    else if (number == SIGCHLD) // if it is ignored, the exit status of a child is lost
        sigaction(number, &usual, NULL);
    else if (number != SIGHUP || before->sa_handler != SIG_IGN)
        sigaction(number, handle, NULL);
}

void spy_cli_catch_signals(void)
{
    struct sigaction handle = {.sa_sigaction = handle_signal, .sa_flags = SA_SIGINFO};
    leads_session = getsid(0) == getpid();
    sigemptyset(&handle.sa_mask); // without SA_RESTART: sleeps end at once
    for (size_t i = 0; i < SPY_COUNT(caught); i++) {
        sigaddset(&handle.sa_mask, caught[i].number); // one handler at a time
        sigaction(caught[i].number, NULL, &caught[i].before);
    }
    for (size_t i = 0; i < SPY_COUNT(caught); i++)
        catch_signal(caught[i].number, &handle, &caught[i].before);
}

static void count_snapshot(int number)
{
    (void)number;
    atomic_fetch_add(&spy_cli_snapshots, 1);
}

void spy_cli_catch_snapshots(void)
{
    struct sigaction count = {.sa_handler = count_snapshot, .sa_flags = SA_RESTART};
    sigemptyset(&count.sa_mask);
    sigaction(SIGUSR1, &count, NULL);
}

void spy_cli_release_signals(void)
{
    for (size_t i = 0; i < SPY_COUNT(caught); i++)
        sigaction(caught[i].number, &caught[i].before, NULL);
}

bool spy_cli_stopped_by_terminal(void)
{
    return by_terminal;
}

uint64_t spy_cli_signalled_ns(void)
{
    return atomic_load(&latest_ns);
}
