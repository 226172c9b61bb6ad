// podspy agent: find, sample, push, for ever.
#include "agent/cli/blocked.h"
#include "agent/cli/cli.h"
#include "agent/cli/labels.h"
#include "agent/cli/metrics.h"
#include "agent/cli/problems.h"
#include "agent/cli/reads.h"
#include "agent/discover/discover.h"
#include "agent/discover/proc.h"
#include "agent/sampler/priority.h"
#include "agent/sampler/sampler.h"
#include "agent/target/reasons.h"
#include "agent/upload/upload.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include <argp.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_CONFIG = 300, KEY_COLLECTOR, KEY_ONCE, KEY_LOG_LEVEL, KEY_LOG_FORMAT };

#define POLL_NS      (100 * SPY_NS_PER_MS) // see discover.h: children within 250 ms
#define LOG_EVERY_NS (60 * SPY_NS_PER_SEC)
#define SPOOL_SECS   5

struct options {
    const char *config, *collector;
    double once; // seconds; 0: for ever
    struct spy_err *err;
};

struct agent {
    struct spy_agent_config config;
    struct spy_discover *discover;
    struct spy_sampler *sampler;
    struct spy_upload *upload;
    char host[256];
    uint64_t discover_failed, upload_failed, window_logged, native_logged, metrics_failed;
    uint64_t window_start; // Unix time
    struct spy_problems problems;
    struct spy_cli_reads reads;
    struct spy_blocked blocked;
    char **argv;
};

const struct argp_option spy_cli_agent_options[] = {
    {"config", KEY_CONFIG, "FILE", 0, "the YAML configuration", 0},
    {"collector", KEY_COLLECTOR, "URL", 0, "the collector, instead of collector.url", 0},
    {"once", KEY_ONCE, "SECS", 0, "sample that long, push, and end", 0},
    {"log-level", KEY_LOG_LEVEL, "LEVEL", 0, "error, warn, info (default) or debug", 0},
    {"log-format", KEY_LOG_FORMAT, "FORMAT", 0, "logfmt (default) or json", 0},
    {0},
};

static int parse_option(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case KEY_CONFIG:
        o->config = arg;
        break;
    case KEY_COLLECTOR:
        o->collector = arg;
        break;
    case KEY_ONCE:
        if (spy_cli_number("--once", arg, 0.1, 1e9, &o->once, o->err) < 0)
            argp_error(state, "%s", o->err->msg);
        break;
    case KEY_LOG_LEVEL:
        if (spy_log_set_level(arg, o->err) < 0)
            argp_error(state, "%s", o->err->msg);
        break;
    case KEY_LOG_FORMAT:
        if (spy_log_set_format(arg, o->err) < 0)
            argp_error(state, "%s", o->err->msg);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not expected", arg);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

// --- from what is discovered to what is sampled ---

static void label_node(const struct agent *a, struct spy_cli_labels *l)
{
    spy_cli_label(l, SPY_LABEL_CLUSTER, a->config.cluster);
    spy_cli_label(l, SPY_LABEL_HOST, a->host);
    spy_cli_label(l, SPY_LABEL_NODE, a->host);
}

static void label_process(const struct agent *a, const struct spy_process *p,
                          struct spy_cli_labels *l)
{
    snprintf(l->pid, sizeof l->pid, "%d", (int)p->pid);
    snprintf(l->ppid, sizeof l->ppid, "%d", (int)p->ppid);
    snprintf(l->ns_pid, sizeof l->ns_pid, "%d", (int)(p->ns_pid ? p->ns_pid : p->pid));
    spy_cli_label(l, SPY_LABEL_PID, l->pid);
    spy_cli_label(l, SPY_LABEL_NS_PID, l->ns_pid);
    spy_cli_label(l, SPY_LABEL_PARENT_PID, l->ppid);
    spy_cli_label(l, SPY_LABEL_COMMAND, p->cmdline && *p->cmdline ? p->cmdline : p->command);
    spy_cli_label_place(l, &p->place);
    label_node(a, l);
}

static void start_process(struct agent *a, const struct spy_process *p)
{
    struct spy_cli_labels l = {.n = 0};
    static const enum spy_sampler_pausing pausing[] = {
        [SPY_BLOCKING_NEVER] = SPY_SAMPLER_NEVER_PAUSE,
        [SPY_BLOCKING_AUTO] = SPY_SAMPLER_MAY_PAUSE,
        [SPY_BLOCKING_ALWAYS] = SPY_SAMPLER_ALWAYS_PAUSE};
    if (p->native && spy_log_due(&a->native_logged, LOG_EVERY_NS))
        spy_log(SPY_LOG_WARN, "native frames are asked for, but this version reads Python's only",
                SPY_I("pid", p->pid), SPY_S("reason", p->reason));
    label_process(a, p, &l);
    struct spy_sampler_process sp = {.pid = p->pid,
                                     .start_time = p->start_time,
                                     .rate = p->rate,
                                     .pausing = pausing[p->blocking],
                                     .blocked = spy_blocked_has(&a->blocked, p->pid, p->start_time),
                                     .labels = (const char *const(*)[2])l.pairs,
                                     .n_labels = l.n};
    struct spy_err err = {0};
    if (spy_sampler_add(a->sampler, &sp, &err) < 0)
        spy_log(SPY_LOG_WARN, "process left out", SPY_I("pid", p->pid), SPY_S("error", err.msg));
}

static void on_process(void *arg, enum spy_discover_event event, const struct spy_process *p)
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

static void look_around(struct agent *a)
{
    struct spy_err err = {0};
    if (spy_discover_poll(a->discover, on_process, a, &err) < 0 &&
        spy_log_due(&a->discover_failed, LOG_EVERY_NS))
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

static void end_window(struct agent *a)
{
    struct spy_err err = {0};
    struct spy_profile *p = spy_sampler_close(a->sampler);
    struct spy_cli_labels node = {.n = 0};
    label_node(a, &node);
    spy_problems_tell(&a->problems, a->discover, p, a->window_start, &node);
    a->window_start = spy_clock_real_ns();
    if (spy_upload_window(a->upload, p, &err) < 0 && spy_log_due(&a->upload_failed, LOG_EVERY_NS))
        spy_log(SPY_LOG_ERROR, "a window was lost: it could not be spooled",
                SPY_S("error", err.msg));
    spy_sampler_reset(a->sampler);
    if (spy_cli_write_metrics(a->config.push.spool_dir, a->sampler, &err) < 0 &&
        spy_log_due(&a->metrics_failed, LOG_EVERY_NS))
        spy_log(SPY_LOG_WARN, "the metrics could not be written", SPY_S("error", err.msg));
    if (spy_log_due(&a->window_logged, LOG_EVERY_NS))
        log_totals(a, "sampling");
}

// See blocked.h. On the thread that looks at reads, while the other one is in such a read.
static void start_anew_without(void *arg, pid_t pid)
{
    struct agent *a = arg;
    struct spy_err err = {0};
    char text[200];
    snprintf(text, sizeof text, SPY_CLI_NEVER_READ, (int)pid);
    spy_log(SPY_LOG_ERROR, "starting anew without one process", SPY_I("pid", pid),
            SPY_S("reason", text));
    spy_blocked_add(&a->blocked, pid, spy_sampler_start_time(a->sampler, pid));
    // A thread may be held meanwhile: should the disk hang too, this program ends, and that one
    // goes on.
    signal(SIGALRM, SIG_DFL);
    alarm(SPOOL_SECS);
    spy_sampler_hung(a->sampler);
    end_window(a);
    alarm(0);
    if (spy_cli_stop)
        _exit(SPY_EXIT_OK);
    spy_blocked_restart(&a->blocked, a->argv, &err);
    spy_log(SPY_LOG_ERROR, "the agent cannot go on", SPY_S("error", err.msg));
    _exit(SPY_EXIT_FAILED);
}

// SPOOL/alive has the time of the last round, for a probe that asks whether there still are any.
static void beat(struct agent *a)
{
    static uint64_t last;
    char path[PATH_MAX];
    if (!spy_log_due(&last, 5 * SPY_NS_PER_SEC) ||
        snprintf(path, sizeof path, "%s/alive", a->config.push.spool_dir) >= PATH_MAX)
        return;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && futimens(fd, NULL) < 0)
        spy_log(SPY_LOG_DEBUG, "no sign of life can be left", SPY_S("path", path));
}

static void run(struct agent *a, double once)
{
    uint64_t now = spy_clock_mono_ns();
    uint64_t end = once > 0 ? now + (uint64_t)(once * (double)SPY_NS_PER_SEC) : UINT64_MAX;
    uint64_t window_end = now + a->config.push.interval_ns;
    a->window_start = spy_clock_real_ns();
    while (!spy_cli_stop && now < end) {
        look_around(a);
        beat(a);
        uint64_t until = spy_clock_mono_ns() + POLL_NS;
        until = until < window_end ? until : window_end;
        spy_sampler_run(a->sampler, until < end ? until : end, &spy_cli_stop);
        now = spy_clock_mono_ns();
        if (now >= window_end) {
            end_window(a);
            window_end += a->config.push.interval_ns;
            window_end = window_end > now ? window_end : now + a->config.push.interval_ns;
        }
    }
    end_window(a);
}

// --- start and end ---

static void agent_done(struct agent *a)
{
    spy_cli_reads_end(&a->reads);
    spy_upload_free(a->upload);
    spy_sampler_free(a->sampler);
    spy_discover_free(a->discover);
    spy_agent_config_free(&a->config);
}

// What this agent will never see, told once in the log and to the collector. Without a /proc of its
// own there is nothing that it could do.
static int look_at_rights(struct agent *a, struct spy_err *err)
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
        spy_problems_of_node(&a->problems, text);
    }
    return 0;
}

static int start(struct agent *a, const struct options *o, struct spy_err *err)
{
    int r = spy_agent_config_load(o->config, &a->config, err);
    if (r < 0)
        return r;
    static const enum spy_push_compression compressions[] = {
        [SPY_COMPRESSION_AUTO] = SPY_PUSH_AUTO,
        [SPY_COMPRESSION_ZSTD] = SPY_PUSH_ZSTD,
        [SPY_COMPRESSION_GZIP] = SPY_PUSH_GZIP,
        [SPY_COMPRESSION_NONE] = SPY_PUSH_NONE,
    };
    const struct spy_agent_config *c = &a->config;
    struct spy_upload_options up = {.url = o->collector ? o->collector : c->collector.url,
                                    .ca_file = c->collector.ca_file,
                                    .token_file = c->collector.token_file,
                                    .cert_file = c->collector.cert_file,
                                    .key_file = c->collector.key_file,
                                    .spool_dir = c->push.spool_dir,
                                    .spool_bytes = (uint64_t)c->push.spool_mib << 20,
                                    .compression = compressions[c->push.compression]};
    if (!up.url)
        return spy_err_set(err, SPY_ERR_USAGE, 0,
                           "no collector is given: set collector.url in the configuration or use "
                           "--collector URL");
    const char *node = getenv("NODE_NAME"); // from the downward API, in Kubernetes
    if (node && *node)
        snprintf(a->host, sizeof a->host, "%s", node);
    else if (gethostname(a->host, sizeof a->host - 1) < 0)
        a->host[0] = 0;
    r = spy_sampler_new(
        &(struct spy_sampler_options){.budget_percent = c->budget.cpu_percent,
                                      .profile_bytes = ((size_t)c->budget.memory_mib << 20) / 2,
                                      .watch = &a->reads.watch,
                                      .command_of = spy_proc_cmdline},
        &a->sampler, err);
    if (r == 0)
        r = look_at_rights(a, err);
    if (r == 0)
        r = spy_discover_new(c, "/proc", &a->discover, err);
    if (r == 0)
        r = spy_upload_new(&up, &a->upload, err);
    if (r == 0)
        r = spy_cli_reads_begin(&a->reads, start_anew_without, a, err);
    return r;
}

int spy_cli_agent(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .options = spy_cli_agent_options,
        .parser = parse_option,
        .doc = "Finds the opted-in Python processes of this node, samples them and pushes their "
               "profiles to a collector.",
    };
    struct options o = {.err = err};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    spy_cli_catch_signals();
    _cleanup_(agent_done) struct agent a = {.argv = argv};
    spy_blocked_load(&a.blocked);
    int r = start(&a, &o, err);
    if (r < 0)
        return r;
    spy_log(SPY_LOG_INFO, "podspy agent started", SPY_S("version", PODSPY_VERSION),
            SPY_S("node", a.host), SPY_I("rules", a.config.discovery.n_processes),
            SPY_S("priority", spy_priority_name(spy_sampler_priority(a.sampler))));
    run(&a, o.once);
    if (spy_upload_flush(a.upload, (o.once > 0 ? 30 : 3) * SPY_NS_PER_SEC) < 0)
        spy_log(SPY_LOG_WARN, "the collector was not reached: windows wait in the spool",
                SPY_S("spool", a.config.push.spool_dir));
    log_totals(&a, "podspy agent ended");
    return SPY_EXIT_OK;
}
