#include "agent/daemon/daemon.h"
#include "agent/config/agent_config.h"
#include "agent/daemon/alive.h"
#include "agent/daemon/hung_processes.h"
#include "agent/daemon/hung_reads.h"
#include "agent/daemon/metrics.h"
#include "agent/daemon/problems.h"
#include "agent/daemon/series_labels.h"
#include "agent/discover/discover.h"
#include "agent/discover/proc.h"
#include "agent/sampler/priority.h"
#include "agent/sampler/sampler.h"
#include "agent/target/reasons.h"
#include "agent/upload/upload.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define POLL_NS      (100 * SPY_NS_PER_MS) // see discover.h: children within 250 ms
#define LOG_EVERY_NS (60 * SPY_NS_PER_SEC)
#define SPOOL_SECS   5

struct agent {
    const struct spy_daemon_options *options;
    struct spy_agent_config config;
    struct spy_discover *discover;
    struct spy_sampler *sampler;
    struct spy_upload *upload;
    char host[256];
    uint64_t discover_logged, upload_logged, window_logged, native_logged, metrics_logged;
    uint64_t window_start; // Unix time
    struct spy_problems problems;
    struct spy_hung_reads reads;
    struct spy_hung_processes hung;
};

// --- from discovered to sampled ---

static void label_node(const struct agent *a, struct spy_series_labels *l)
{
    spy_series_label(l, SPY_LABEL_CLUSTER, a->config.cluster);
    spy_series_label(l, SPY_LABEL_HOST, a->host);
    spy_series_label(l, SPY_LABEL_NODE, a->host);
}

static void label_process(const struct agent *a, const struct spy_process *p,
                          struct spy_series_labels *l)
{
    snprintf(l->pid, sizeof l->pid, "%d", (int)p->pid);
    snprintf(l->ppid, sizeof l->ppid, "%d", (int)p->ppid);
    snprintf(l->ns_pid, sizeof l->ns_pid, "%d", (int)(p->ns_pid ? p->ns_pid : p->pid));
    spy_series_label(l, SPY_LABEL_PID, l->pid);
    spy_series_label(l, SPY_LABEL_NS_PID, l->ns_pid);
    spy_series_label(l, SPY_LABEL_PARENT_PID, l->ppid);
    spy_series_label(l, SPY_LABEL_COMMAND, p->cmdline && *p->cmdline ? p->cmdline : p->command);
    spy_series_label_place(l, &p->place);
    label_node(a, l);
}

static void start_process(struct agent *a, const struct spy_process *p)
{
    struct spy_series_labels l = {.n = 0};
    if (p->native && p->blocking == SPY_PAUSE_NEVER && spy_log_due(&a->native_logged, LOG_EVERY_NS))
        spy_log(SPY_LOG_WARN,
                "native frames need pauses, and blocking is never: Python frames only",
                SPY_I("pid", p->pid), SPY_S("reason", p->reason));
    label_process(a, p, &l);
    struct spy_sampler_process sp = {.pid = p->pid,
                                     .start_time = p->start_time,
                                     .rate = p->rate,
                                     .pausing = p->blocking,
                                     .natives = p->native ? SPY_NATIVES_RUNNING : SPY_NATIVES_NONE,
                                     .hung =
                                         spy_hung_processes_has(&a->hung, p->pid, p->start_time),
                                     .labels = (const char *const(*)[2])l.pairs,
                                     .n_labels = l.n};
    struct spy_err err = {0};
    if (spy_sampler_add(a->sampler, &sp, &err) < 0)
        spy_log(SPY_LOG_WARN, "process left out", SPY_I("pid", p->pid), SPY_S("error", err.msg));
}

static void handle_process(void *arg, enum spy_discover_event event, const struct spy_process *p)
{
    static const char *const names[] = {[SPY_DISCOVER_ADDED] = "process opted in",
                                        [SPY_DISCOVER_EXEC] = "process called exec",
                                        [SPY_DISCOVER_REMOVED] = "process gone"};
    struct agent *a = arg;
    const char *what = p->lives ? "process opted out" : names[event];
    spy_log(SPY_LOG_INFO, what, SPY_I("pid", p->pid), SPY_S("pod", p->place.pod),
            SPY_S("reason", p->reason), SPY_S("command", p->command));
    if (event == SPY_DISCOVER_REMOVED)
        spy_sampler_remove(a->sampler, p->pid);
    else
        start_process(a, p);
}

static void poll_processes(struct agent *a)
{
    struct spy_err err = {0};
    if (spy_discover_poll(a->discover, handle_process, a, &err) < 0 &&
        spy_log_due(&a->discover_logged, LOG_EVERY_NS))
        spy_log(SPY_LOG_ERROR, "cannot look for processes", SPY_S("error", err.msg));
}

// --- windows ---

static void log_totals(const struct agent *a, const char *what)
{
    struct spy_sampler_totals t = spy_sampler_totals(a->sampler);
    spy_log(SPY_LOG_INFO, what, SPY_I("processes", spy_sampler_n_processes(a->sampler)),
            SPY_I("samples", t.samples), SPY_I("clean", t.clean), SPY_I("salvaged", t.salvaged),
            SPY_I("paused", t.paused), SPY_I("failed", t.failed), SPY_I("left_out", t.left_out),
            SPY_I("late", t.late), SPY_I("cpu_ms", spy_clock_cpu_ns() / SPY_NS_PER_MS));
}

static void send_window(struct agent *a)
{
    struct spy_err err = {0};
    struct spy_profile *p = spy_sampler_close(a->sampler);
    struct spy_series_labels node = {.n = 0};
    label_node(a, &node);
    spy_problems_add_due(&a->problems, a->discover, p, a->window_start, &node);
    a->window_start = spy_clock_real_ns();
    if (spy_upload_window(a->upload, p, &err) < 0 && spy_log_due(&a->upload_logged, LOG_EVERY_NS))
        spy_log(SPY_LOG_ERROR, "a window, or part of it, was lost before it was spooled",
                SPY_S("error", err.msg));
    spy_sampler_reset(a->sampler);
    if (spy_daemon_write_metrics(a->config.push.spool_dir, a->sampler, &err) < 0 &&
        spy_log_due(&a->metrics_logged, LOG_EVERY_NS))
        spy_log(SPY_LOG_WARN, "cannot write the metrics", SPY_S("error", err.msg));
    if (spy_log_due(&a->window_logged, LOG_EVERY_NS))
        log_totals(a, "sampling");
}

// The give_up of hung_reads.h: it runs on the checking thread while the sampling thread is in the
// read that hangs.
static void restart_without(void *arg, pid_t pid)
{
    struct agent *a = arg;
    struct spy_err err = {0};
    char text[200];
    snprintf(text, sizeof text, SPY_HUNG_READ_TEXT, (int)pid);
    spy_log(SPY_LOG_ERROR, "restarting without one process", SPY_I("pid", pid),
            SPY_S("reason", text));
    spy_hung_processes_add(&a->hung, pid, spy_sampler_start_time(a->sampler, pid));
    // The read may have paused a thread. If the spool's disk hangs as well, SIGALRM ends the agent,
    // and that thread runs again.
    signal(SIGALRM, SIG_DFL);
    alarm(SPOOL_SECS);
    spy_sampler_set_hung(a->sampler);
    send_window(a);
    alarm(0);
    if (*a->options->stop)
        _exit(EXIT_SUCCESS);
    spy_hung_processes_restart(&a->hung, a->options->argv, &err);
    spy_log(SPY_LOG_ERROR, "the agent cannot continue", SPY_S("error", err.msg));
    _exit(EXIT_FAILURE);
}

static void sample_until_stopped(struct agent *a)
{
    double seconds = a->options->seconds;
    uint64_t now = spy_clock_mono_ns();
    uint64_t end = seconds > 0 ? now + (uint64_t)(seconds * (double)SPY_NS_PER_SEC) : UINT64_MAX;
    uint64_t window_end = now + a->config.push.interval_ns;
    a->window_start = spy_clock_real_ns();
    while (!*a->options->stop && now < end) {
        poll_processes(a);
        spy_alive_touch(a->config.push.spool_dir);
        uint64_t until = spy_clock_mono_ns() + POLL_NS;
        until = until < window_end ? until : window_end;
        spy_sampler_run(a->sampler, until < end ? until : end, a->options->stop);
        now = spy_clock_mono_ns();
        if (now >= window_end) {
            send_window(a);
            window_end += a->config.push.interval_ns;
            window_end = window_end > now ? window_end : now + a->config.push.interval_ns;
        }
    }
    send_window(a);
}

// --- start and end ---

static void free_agent(struct agent *a)
{
    spy_hung_reads_end(&a->reads);
    spy_upload_free(a->upload);
    spy_sampler_free(a->sampler);
    spy_discover_free(a->discover);
    spy_agent_config_free(&a->config);
}

// Reports what keeps this agent from reading processes, in the log and to the collector. An agent
// that sees no processes at all fails.
static int report_bars(struct agent *a, struct spy_err *err)
{
    struct spy_rights rights;
    struct spy_reason why;
    char text[sizeof why.text + sizeof why.cure + 2];
    spy_rights_load(&rights);
    if (spy_bar_holds(SPY_BAR_PROC, &rights, NULL, &why))
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0, "the agent sees no processes: %s; %s",
                           why.text, why.cure);
    for (int bar = 0; bar < SPY_BARS; bar++) {
        if (!spy_bar_holds((enum spy_bar)bar, &rights, NULL, &why))
            continue;
        spy_log(SPY_LOG_ERROR,
                why.partly ? "some processes cannot be profiled" : "no process can be profiled",
                SPY_S("reason", why.text), SPY_S("change", why.cure));
        snprintf(text, sizeof text, "%s; %s", why.text, why.cure);
        spy_problems_add_node(&a->problems, text);
    }
    return 0;
}

static void find_host(struct agent *a)
{
    const char *node = getenv("NODE_NAME"); // from the downward API of Kubernetes
    if (node && *node)
        snprintf(a->host, sizeof a->host, "%s", node);
    else if (gethostname(a->host, sizeof a->host - 1) < 0)
        a->host[0] = 0;
}

static int start_sampler(struct agent *a, struct spy_err *err)
{
    struct spy_sampler_options options = {
        .blame = SPY_BLAME_HOLDERS,
        .budget_percent = a->config.budget.cpu_percent,
        .profile_bytes = ((size_t)a->config.budget.memory_mib << 20) / 2,
        .native_bytes = ((size_t)a->config.budget.memory_mib << 20) / 4,
        .mark = &a->reads.mark,
        .command_of = spy_proc_cmdline};
    return spy_sampler_new(&options, &a->sampler, err);
}

static int start_upload(struct agent *a, const char *url, struct spy_err *err)
{
    static const enum spy_push_compression compressions[] = {
        [SPY_COMPRESSION_AUTO] = SPY_PUSH_AUTO,
        [SPY_COMPRESSION_ZSTD] = SPY_PUSH_ZSTD,
        [SPY_COMPRESSION_GZIP] = SPY_PUSH_GZIP,
        [SPY_COMPRESSION_NONE] = SPY_PUSH_NONE,
    };
    const struct spy_agent_config *c = &a->config;
    struct spy_upload_options options = {.url = url,
                                         .ca_file = c->collector.ca_file,
                                         .token_file = c->collector.token_file,
                                         .cert_file = c->collector.cert_file,
                                         .key_file = c->collector.key_file,
                                         .spool_dir = c->push.spool_dir,
                                         .spool_bytes = (uint64_t)c->push.spool_mib << 20,
                                         .compression = compressions[c->push.compression]};
    return spy_upload_new(&options, &a->upload, err);
}

static int start_agent(struct agent *a, struct spy_err *err)
{
    int r = spy_agent_config_load(a->options->config, &a->config, err);
    if (r < 0)
        return r;
    const char *url = a->options->collector ? a->options->collector : a->config.collector.url;
    if (!url)
        return spy_err_set(err, SPY_ERR_USAGE, 0,
                           "no collector is given: set collector.url in the configuration or use "
                           "--collector URL");
    find_host(a);
    r = start_sampler(a, err);
    if (r == 0)
        r = report_bars(a, err);
    if (r == 0)
        r = spy_discover_new(&a->config, "/proc", &a->discover, err);
    if (r == 0)
        r = start_upload(a, url, err);
    if (r == 0)
        r = spy_hung_reads_begin(&a->reads, restart_without, a, err);
    return r;
}

int spy_daemon_run(const struct spy_daemon_options *options, struct spy_err *err)
{
    _cleanup_(free_agent) struct agent a = {.options = options};
    spy_hung_processes_load(&a.hung);
    int r = start_agent(&a, err);
    if (r < 0)
        return r;
    spy_log(SPY_LOG_INFO, "podspy agent started", SPY_S("version", PODSPY_VERSION),
            SPY_S("node", a.host), SPY_I("rules", a.config.discovery.n_processes),
            SPY_S("priority", spy_priority_name(spy_sampler_priority(a.sampler))));
    sample_until_stopped(&a);
    if (spy_upload_flush(a.upload, (options->seconds > 0 ? 30 : 3) * SPY_NS_PER_SEC) < 0)
        spy_log(SPY_LOG_WARN, "the collector was not reached: windows wait in the spool",
                SPY_S("spool", a.config.push.spool_dir));
    log_totals(&a, "podspy agent ended");
    return 0;
}
