#include "agent/cli/record_run.h"
#include "agent/cli/cli.h"
#include "agent/cli/program.h"
#include "agent/cli/record_progress.h"
#include "agent/cli/record_report.h"
#include "agent/cli/record_write.h"
#include "agent/cli/subject.h"
#include "agent/daemon/hung_reads.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/profile/timeline.h"
#include <signal.h>
#include <unistd.h>

enum { TIMELINE_MIB = 64 };

static int wait_for_python(struct spy_recording *r, struct spy_err *err)
{
    int x = spy_family_wait(r->family, err);
    if (x == SPY_ERR_AGAIN)
        return spy_record_fail_unsampled(r, SPY_END_SIGNAL, err);
    if (x == SPY_ERR_GONE && (r->lived || r->rec->program))
        return spy_record_fail_unsampled(r, SPY_END_ENDED, err);
    return x;
}

static uint64_t add_seconds(uint64_t ns, double seconds)
{
    return seconds > 0 ? ns + (uint64_t)(seconds * (double)SPY_NS_PER_SEC) : UINT64_MAX;
}

// Writes the file that is due by --rotate, or that SIGUSR1 asks for.
static void write_what_is_due(struct spy_recording *r, uint64_t now)
{
    unsigned asked = spy_cli_snapshots;
    bool complete = now >= r->rotate_ns;
    if (complete || asked != r->n_asked)
        spy_record_write_part(r, complete);
    r->n_asked = asked;
    while (now >= r->rotate_ns)
        r->rotate_ns = add_seconds(r->rotate_ns, r->rec->rotate);
}

static uint64_t choose_stop(const struct spy_recording *r, uint64_t now)
{
    uint64_t until = now + (r->rec->subprocesses ? 100 : 200) * SPY_NS_PER_MS;
    until = until < r->until_ns ? until : r->until_ns;
    return until < r->rotate_ns ? until : r->rotate_ns;
}

static enum spy_record_end sample_until_end(struct spy_recording *r)
{
    uint64_t now = spy_clock_mono_ns();
    r->until_ns = add_seconds(now, r->rec->seconds);
    r->rotate_ns = add_seconds(now, r->rec->rotate);
    for (;; now = spy_clock_mono_ns()) {
        spy_sampler_run(r->sampler, choose_stop(r, now), &spy_cli_stop);
        spy_record_progress(r);
        if (spy_cli_stop)
            return SPY_END_SIGNAL;
        if (spy_family_update(r->family, NULL) < 0 || spy_family_ended(r->family))
            return SPY_END_ENDED;
        now = spy_clock_mono_ns();
        if (now >= r->until_ns)
            return SPY_END_DURATION;
        write_what_is_due(r, now);
    }
}

// The give_up of hung_reads.h: it runs on the checking thread while the sampling thread is in the
// read that hangs.
static void write_and_fail(void *arg, pid_t pid)
{
    struct spy_recording *r = arg;
    struct spy_err err = {0};
    spy_sampler_set_hung(r->sampler);
    bool has_samples = spy_sampler_totals(r->sampler).samples;
    int x = has_samples && !r->output.path[0] ? spy_record_choose_output(r, &err) : 0;
    if (x == 0 && has_samples)
        x = spy_record_write(r, SPY_END_BLOCKED, &err);
    if (x < 0)
        spy_cli_print_error(&err, err.code);
    spy_hung_reads_fail(NULL, pid);
}

void spy_recording_done(struct spy_recording *r)
{
    spy_family_free(r->family);
    spy_sampler_free(r->sampler);
    spy_timeline_free(r->timeline);
    spy_packages_free(r->packages);
    spy_unread_free(&r->unread);
    spy_buf_free(&r->notes);
}

static int prepare_recording(struct spy_recording *r, struct spy_hung_reads *reads,
                             struct spy_err *err)
{
    const struct spy_record *rec = r->rec;
    struct spy_sampler_options options = {.mark = &reads->mark,
                                          .window_bytes = (size_t)SPY_RECORD_WINDOW_MIB << 20,
                                          .command_of = spy_cli_cmdline,
                                          .inlines = true,
                                          .blame =
                                              rec->gil_blame ? SPY_BLAME_ALONE : SPY_BLAME_NOBODY};
    if (r->format->ordered)
        options.timeline = r->timeline = spy_timeline_new((size_t)TIMELINE_MIB << 20);
    if (!rec->full_filenames) // without memory for it, names are shortened by their text alone
        options.packages = r->packages = spy_packages_new();
    int x = spy_sampler_new(&options, &r->sampler, err);
    struct spy_family_options family = {.sampler = r->sampler,
                                        .rate = (uint32_t)rec->rate,
                                        .pausing = rec->pausing,
                                        .natives = spy_natives_of(rec->native, rec->idle),
                                        .descendants = rec->subprocesses,
                                        .program = rec->program ? r->pid : 0,
                                        .unread = &r->unread};
    if (x == 0)
        x = spy_family_new(&family, &r->family, err);
    if (x == 0)
        x = spy_hung_reads_begin(reads, write_and_fail, r, err);
    if (x == 0)
        x = spy_family_add(r->family, r->pid, err);
    for (size_t i = 1; i < r->n_pids && x == 0; i++)
        x = spy_family_add(r->family, r->pids[i], err);
    if (x == 0)
        r->lived = spy_family_is_alive(r->family, r->pid);
    return x;
}

// Signals the program, unless it has ended or the terminal has signalled it already.
static void signal_program(struct spy_recording *r, bool by_signal)
{
    if (!r->rec->program || r->asked_ns || spy_program_ended(r->pid))
        return;
    r->asked_ns = by_signal ? spy_cli_signalled_ns() : spy_clock_mono_ns();
    bool in_group = getpgid(r->pid) == getpgrp(); // a terminal signals the whole group
    if (!by_signal || !in_group || !spy_cli_stopped_by_terminal())
        spy_program_signal(r->pid, by_signal ? spy_cli_stop : SIGTERM);
}

int spy_record_run(struct spy_recording *r, enum spy_record_end *why, struct spy_err *err)
{
    _cleanup_(spy_hung_reads_end) struct spy_hung_reads reads = {.every = NULL};
    int x = prepare_recording(r, &reads, err);
    if (x == 0)
        x = wait_for_python(r, err);
    if (x == 0 && !r->output.path[0]) // a process that cannot be read is reported first
        x = spy_record_choose_output(r, err);
    if (x == 0) {
        const struct spy_python *py = spy_sampler_python(r->sampler, r->pid);
        if (py) // with --subprocesses a descendant may be the first that is read
            spy_cli_print_other(r->pid, spy_python_runtime(py));
        spy_record_say_start(r->rec);
        *why = sample_until_end(r);
    }
    signal_program(r, spy_cli_stop); // before its profile is written: time may be short
    return x == 0 ? spy_record_write(r, *why, err) : x;
}
