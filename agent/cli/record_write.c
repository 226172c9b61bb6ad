#include "agent/cli/record_write.h"
#include "agent/cli/account.h"
#include "agent/cli/cli.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include "shared/profile/timeline.h"
#include <signal.h>
#include <unistd.h>

enum { OUTPUT_MAX = 1 << 30 };

int spy_record_choose_output(struct spy_recording *r, struct spy_err *err)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)r->pid);
    return spy_output_choose(r->rec->output, r->rec->program ? r->rec->program[0] : pid,
                             r->format->extension, &r->output, err);
}

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

static int print_profile(const struct spy_recording *r, struct spy_view *view,
                         const struct spy_profile *p, struct spy_buf *out, struct spy_err *err)
{
    int x = r->format->print(p, view, out, err);
    if (x != SPY_ERR_LIMIT || !view->timeline)
        return x;
    view->timeline = NULL; // equal stacks merged take much less room
    spy_buf_reset(out);
    return r->format->print(p, view, out, err);
}

// Prints the last lines on stderr.
static void print_summary(const struct spy_recording *r, const struct spy_view *view,
                          const struct spy_profile *p, enum spy_record_end why)
{
    _cleanup_buf_ struct spy_buf empty = SPY_BUF_INIT(512);
    char shown[PATH_MAX];
    struct spy_sampler_totals t = spy_sampler_totals(r->sampler);
    fprintf(stderr, "%sStopped sampling because %s\n", isatty(STDERR_FILENO) ? "\n" : "",
            name_stop_reason(why));
    fprintf(stderr, "Wrote %s data to '%s'. Samples: %llu Errors: %llu\n", r->rec->format,
            spy_text_show(shown, sizeof shown, r->output.path), (unsigned long long)t.samples,
            (unsigned long long)t.failed);
    if (r->rec->native)
        fprintf(stderr, "Native frames: %llu of %llu samples could not be merged\n",
                (unsigned long long)t.unmerged, (unsigned long long)t.native);
    if (t.left_out)
        fprintf(stderr,
                "%llu of these errors are threads beyond the first %d: those that had not run for "
                "the longest time were left out\n",
                (unsigned long long)t.left_out, SPY_PY_THREADS_MAX);
    if (spy_family_n_left_out(r->family))
        fprintf(stderr, "%zu descendants beyond the first %d were left out\n",
                spy_family_n_left_out(r->family), SPY_SAMPLER_PROCESSES_MAX);
    for (size_t i = 0; i < r->n_pids; i++) {
        const char *problem = spy_sampler_problem(r->sampler, r->pids[i]);
        if (problem)
            fprintf(stderr, "Process %d has no samples: %s\n", (int)r->pids[i], problem);
    }
    spy_unread_say(&r->unread);
    spy_cli_print_account(spy_sampler_account(r->sampler));
    if (spy_view_why_empty(p, view, &empty) == 0 && empty.len)
        fprintf(stderr, "%s\n", spy_buf_str(&empty));
    if (r->timeline && (!view->timeline || spy_timeline_is_full(r->timeline)))
        fprintf(stderr,
                "The order of so many samples is too large to keep: equal samples are merged, and "
                "speedscope's Time Order is not their order. Record for a shorter time, or with "
                "-f flamegraph.\n");
}

SPY_CLEANUP(free_filter, struct spy_filter, spy_filter_free)

int spy_record_write(struct spy_recording *r, enum spy_record_end why, struct spy_err *err)
{
    const struct spy_record *rec = r->rec;
    const char *command = spy_family_command(r->family);
    struct spy_view view = {.title = *command ? command : "podspy record",
                            .idle = rec->idle,
                            .gil = rec->gil,
                            .no_lines = rec->no_lines,
                            .function_lines = rec->function,
                            .threads = rec->threads,
                            .processes = rec->subprocesses ? SPY_PROCESSES_YES : SPY_PROCESSES_AUTO,
                            .ancestors = rec->subprocesses,
                            .full_filenames = rec->full_filenames,
                            .shorten = r->packages ? spy_packages_shorten : NULL,
                            .shorten_context = r->packages,
                            .timeline = r->timeline,
                            .command_line = true};
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(OUTPUT_MAX);
    const struct spy_profile *p = spy_sampler_close(r->sampler);
    if (!spy_sampler_totals(r->sampler).samples)
        return spy_record_fail_unsampled(r, why, err);
    _cleanup_(free_filter) struct spy_filter *filter = NULL;
    int x = 0;
    if (rec->filter.n_include || rec->filter.n_exclude)
        x = spy_filter_new(&rec->filter, p, &filter, err);
    view.filter = filter;
    if (x == 0)
        x = print_profile(r, &view, p, &out, err);
    if (x == 0)
        x = spy_output_write(&r->output, &out, err);
    if (x == SPY_ERR_GONE)
        return SPY_EXIT_PIPE;
    if (x == 0)
        print_summary(r, &view, p, why);
    return x;
}
