#include "agent/cli/record_report.h"
#include "agent/cli/account.h"
#include "agent/cli/cli.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include "shared/profile/timeline.h"
#include <signal.h>
#include <unistd.h>

int spy_record_fail_unsampled(struct spy_recording *r, enum spy_record_end why, struct spy_err *err)
{
    r->unsampled = why == SPY_END_SIGNAL || why == SPY_END_ENDED;
    if (why == SPY_END_SIGNAL)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "interrupted before the first sample");
    if (why == SPY_END_ENDED)
        return spy_err_set(err, SPY_ERR_GONE, 0, "process %d ended before it was sampled",
                           (int)r->pid);
    uint64_t failed = spy_sampler_totals(r->sampler).failed;
    if (failed && r->rec->pausing == SPY_PAUSE_NEVER)
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "no stack could be read in %llu attempts: try without --nonblocking",
                           (unsigned long long)failed);
    if (failed)
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "no stack could be read in %llu attempts: podspy doctor --pid %d may "
                           "say why",
                           (unsigned long long)failed, (int)r->pid);
    return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                       "no sample was taken: try a longer --duration or a higher --rate");
}

static const char *name_stop_reason(enum spy_record_end why)
{
    switch (why) {
    case SPY_END_DURATION:
        return "the time is up";
    case SPY_END_ENDED:
        return "the program has ended";
    case SPY_END_BLOCKED:
        return "it can no longer be read";
    default:
        return spy_cli_stop == SIGTERM  ? "SIGTERM came"
               : spy_cli_stop == SIGHUP ? "SIGHUP came"
                                        : "Control-C pressed";
    }
}

void spy_record_say_start(const struct spy_record *rec)
{
    if (!rec->hide_progress && rec->seconds > 0)
        fprintf(stderr,
                "Sampling process %g times a second for %g seconds. Press Control-C to exit.\n",
                rec->rate, rec->seconds);
    else if (!rec->hide_progress)
        fprintf(stderr, "Sampling process %g times a second. Press Control-C to exit.\n",
                rec->rate);
}

void spy_record_say_end(enum spy_record_end why)
{
    fprintf(stderr, "%sStopped sampling because %s\n", isatty(STDERR_FILENO) ? "\n" : "",
            name_stop_reason(why));
}

void spy_record_say_written(const struct spy_recording *r, const struct spy_output *o)
{
    char shown[PATH_MAX];
    struct spy_sampler_totals t = spy_sampler_totals(r->sampler);
    fprintf(stderr, "Wrote %s data to '%s'. Samples: %llu Errors: %llu\n", r->rec->format,
            spy_text_show(shown, sizeof shown, o->path),
            (unsigned long long)(t.samples - r->before.samples),
            (unsigned long long)(t.failed - r->before.failed));
}

static void say_late(const struct spy_recording *r, const struct spy_sampler_totals *t)
{
    double rounds = (double)t->rounds, due = rounds + (double)t->late;
    if ((double)t->late * 100 > due)
        fprintf(stderr,
                "%.1f %% of the rounds came too late and were skipped: each thread was sampled "
                "%.0f times a second instead of %g. The machine is busy, or the rate too high.\n",
                100 * (double)t->late / due, r->rec->rate * rounds / due, r->rec->rate);
}

static void say_lost(const struct spy_recording *r, const struct spy_sampler_totals *t)
{
    if (r->rec->native)
        fprintf(stderr, "Native frames: %llu of %llu samples could not be merged\n",
                (unsigned long long)t->unmerged, (unsigned long long)t->native);
    if (t->not_held)
        fprintf(
            stderr,
            "%llu of them because the thread did not stop in time (it waited for a CPU), or may "
            "not be stopped\n",
            (unsigned long long)t->not_held);
    if (t->no_loop)
        fprintf(stderr,
                "%llu of them because no C function of the stack has the name of the interpreter's "
                "loop, which is needed up to 3.10: see podspy doctor -p PID\n",
                (unsigned long long)t->no_loop);
    if (t->left_out)
        fprintf(stderr,
                "%llu of these errors are threads beyond the first %d: those that had not run for "
                "the longest time were left out\n",
                (unsigned long long)t->left_out, SPY_PY_THREADS_MAX);
    if (t->no_room)
        fprintf(stderr,
                "%llu of these errors are samples of stacks and threads that were new after %d MiB "
                "were full. --rotate begins each file with room.\n",
                (unsigned long long)t->no_room, SPY_RECORD_WINDOW_MIB);
    if (spy_family_n_left_out(r->family))
        fprintf(stderr, "%zu descendants beyond the first %d were left out\n",
                spy_family_n_left_out(r->family), SPY_SAMPLER_PROCESSES_MAX);
}

static void say_unread(const struct spy_recording *r)
{
    for (size_t i = 0; i < r->n_pids; i++) {
        const char *problem = spy_sampler_problem(r->sampler, r->pids[i]);
        if (problem)
            fprintf(stderr, "Process %d has no samples: %s\n", (int)r->pids[i], problem);
    }
    spy_unread_say(&r->unread);
}

static void say_merged(const struct spy_recording *r, const struct spy_view *view)
{
    if (r->timeline && (!view->timeline || spy_timeline_is_full(r->timeline)))
        fprintf(stderr,
                "The order of so many samples is too large to keep: equal samples are merged, and "
                "speedscope's Time Order is not their order. Record for a shorter time, with "
                "--rotate, or with -f flamegraph.\n");
    if (view->max_nodes)
        fprintf(stderr, "So many stacks are too large to write: the smallest are folded.\n");
}

void spy_record_say_losses(const struct spy_recording *r, const struct spy_profile *p,
                           const struct spy_view *view)
{
    _cleanup_buf_ struct spy_buf empty = SPY_BUF_INIT(512);
    const struct spy_sampler_totals t = spy_sampler_totals(r->sampler);
    say_lost(r, &t);
    say_late(r, &t);
    say_unread(r);
    spy_cli_print_account(spy_sampler_account(r->sampler));
    if (spy_view_why_empty(p, view, &empty) == 0 && empty.len)
        fprintf(stderr, "%s\n", spy_buf_str(&empty));
    say_merged(r, view);
}
