#include "agent/cli/record_write.h"
#include "agent/cli/cli.h"
#include "agent/cli/record_fit.h"
#include "agent/cli/record_progress.h"
#include "agent/cli/record_report.h"
#include "shared/base/mem.h"
#include "shared/profile/timeline.h"
#include <string.h>

enum { OUTPUT_MAX = 512 << 20 };

static int name_file(const struct spy_recording *r, struct spy_output *ret, struct spy_err *err)
{
    *ret = r->output;
    return r->rec->rotate > 0 ? spy_output_number(ret, r->n_files + 1, r->format->extension, err)
                              : 0;
}

int spy_record_choose_output(struct spy_recording *r, struct spy_err *err)
{
    char pid[16];
    struct spy_output first;
    snprintf(pid, sizeof pid, "%d", (int)r->pid);
    int x = spy_output_choose(r->rec->output, r->rec->program ? r->rec->program[0] : pid,
                              r->format->extension, &r->output, err);
    return x == 0 ? name_file(r, &first, err) : x;
}

// --- one file ---

static struct spy_view make_view(struct spy_recording *r)
{
    spy_buf_reset(&r->notes);
    spy_unread_print(&r->unread, &r->notes);
    const struct spy_record *rec = r->rec;
    const char *command = spy_family_command(r->family);
    return (struct spy_view){.title = *command ? command : "podspy record",
                             .idle = rec->idle || rec->gil_blame,
                             .gil = rec->gil,
                             .no_lines = rec->no_lines,
                             .function_lines = rec->function,
                             .threads = rec->threads,
                             .processes =
                                 rec->subprocesses ? SPY_PROCESSES_YES : SPY_PROCESSES_AUTO,
                             .ancestors = rec->subprocesses,
                             .full_filenames = rec->full_filenames,
                             .shorten = r->packages ? spy_packages_shorten : NULL,
                             .shorten_context = r->packages,
                             .timeline = r->timeline,
                             .notes = r->notes.len ? spy_buf_str(&r->notes) : NULL,
                             .command_line = true};
}

// A flamegraph in the place of what was asked for has a name that says so.
static int name_flamegraph(const struct spy_recording *r, struct spy_output *o, struct spy_err *err)
{
    size_t len = strlen(o->path);
    if (!strcmp(o->path, "-") || len + sizeof ".svg" > sizeof o->path)
        return spy_err_set(err, SPY_ERR_LIMIT, 0,
                           "the %s data is larger than %d MiB: record for a shorter time, or with "
                           "-f flamegraph",
                           r->rec->format, OUTPUT_MAX >> 20);
    memcpy(o->path + len, ".svg", sizeof ".svg");
    fprintf(stderr,
            "The %s data is larger than %d MiB: a flamegraph is written instead. --rotate writes "
            "smaller files.\n",
            r->rec->format, OUTPUT_MAX >> 20);
    return 0;
}

SPY_CLEANUP(free_filter, struct spy_filter, spy_filter_free)

// Which stacks of the profile the view shows; *ret is to be freed after the view.
static int choose_stacks(const struct spy_recording *r, const struct spy_profile *p,
                         struct spy_view *view, struct spy_filter **ret, struct spy_err *err)
{
    const struct spy_filter_options *chosen = &r->rec->filter;
    int x = 0;
    if (chosen->n_include || chosen->n_exclude)
        x = spy_filter_new(chosen, p, ret, err);
    view->filter = *ret;
    return x;
}

static int write_file(struct spy_recording *r, const struct spy_profile *p, struct spy_view *view,
                      struct spy_output *o, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(OUTPUT_MAX);
    const struct spy_format *printed;
    int x = spy_record_fit(r->format, view, p, &out, &printed, err);
    if (x == 0 && printed != r->format)
        x = name_flamegraph(r, o, err);
    return x == 0 ? spy_output_write(o, &out, err) : x;
}

// --- while the recording continues ---

static bool has_any_sample(const struct spy_recording *r)
{
    return spy_sampler_totals(r->sampler).samples > r->before.samples;
}

static void begin_file(struct spy_recording *r)
{
    r->n_files++;
    r->before = spy_sampler_totals(r->sampler);
    spy_sampler_reset(r->sampler);
    if (r->timeline)
        spy_timeline_reset(r->timeline);
}

void spy_record_write_part(struct spy_recording *r, bool complete)
{
    struct spy_err err = {0};
    struct spy_output o;
    struct spy_view view = make_view(r);
    spy_record_clear_progress(r);
    if (!strcmp(r->output.path, "-") || !has_any_sample(r)) {
        fprintf(stderr, "podspy: not written yet: %s\n",
                has_any_sample(r) ? "standard output gets the profile at the end"
                                  : "there are no new samples");
        return;
    }
    _cleanup_(free_filter) struct spy_filter *filter = NULL;
    const struct spy_profile *p = spy_sampler_close(r->sampler);
    int x = name_file(r, &o, &err);
    if (x == 0)
        x = choose_stacks(r, p, &view, &filter, &err);
    if (x == 0)
        x = write_file(r, p, &view, &o, &err);
    if (x < 0) {
        spy_cli_print_error(&err, x);
        fprintf(stderr, "podspy: the recording continues; the next file will have its samples\n");
        return;
    }
    spy_record_say_written(r, &o);
    if (complete)
        begin_file(r);
}

// --- at the end ---

int spy_record_write(struct spy_recording *r, enum spy_record_end why, struct spy_err *err)
{
    struct spy_output o;
    struct spy_view view = make_view(r);
    const struct spy_profile *p = spy_sampler_close(r->sampler);
    bool any = has_any_sample(r); // since the last file
    if (!any && !r->n_files)
        return spy_record_fail_unsampled(r, why, err);
    _cleanup_(free_filter) struct spy_filter *filter = NULL;
    int x = name_file(r, &o, err);
    if (x == 0)
        x = choose_stacks(r, p, &view, &filter, err);
    if (x == 0 && any)
        x = write_file(r, p, &view, &o, err);
    if (x == SPY_ERR_GONE)
        return SPY_EXIT_PIPE;
    if (x < 0)
        return x;
    spy_record_say_end(why);
    if (any)
        spy_record_say_written(r, &o);
    spy_record_say_losses(r, p, &view);
    return 0;
}
