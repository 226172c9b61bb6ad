// podspy processes: the Python processes that podspy sees here, of all containers or of the given
// ones. `kubectl podspy` asks it for the processes of a pod.
#include "agent/cli/cli.h"
#include "agent/cli/output.h"
#include "agent/cli/pids.h"
#include "agent/daemon/hung_reads.h"
#include "agent/discover/cgroup.h"
#include "agent/discover/proc.h"
#include "agent/python/python.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include <errno.h>
#include <string.h>

enum { CONTAINERS_MAX = 64, OUTPUT_MAX = 64 << 20, CGROUP_MAX = 16384 };

struct processes {
    const char *containers[CONTAINERS_MAX]; // ids; borrowed from argv
    size_t n_containers;
    bool json;
    size_t n_printed;
    struct spy_hung_reads *reads;
    struct spy_err *err;
};

// A Python process, or a process that may be Python and cannot be read.
struct row {
    pid_t pid;
    struct spy_proc_stat stat;
    struct spy_proc_status status;
    struct spy_cgroup cgroup;
    char version[64], problem[240], command[SPY_PROC_CMDLINE];
};

static const struct argp_option processes_options[] = {
    {"container", 'c', "ID", 0,
     "only the processes of the container with this id, in full; may be repeated", 0},
    {"json", 'j', 0, 0, "as JSON", 0},
    {0},
};

static int parse_processes_option(int key, char *arg, struct argp_state *state)
{
    struct processes *p = state->input;
    switch (key) {
    case 'c':
        if (p->n_containers == CONTAINERS_MAX)
            argp_error(state, "--container may be given %d times at most", CONTAINERS_MAX);
        p->containers[p->n_containers++] = arg;
        return 0;
    case 'j':
        p->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not expected", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// --- one process ---

static bool is_wanted(const struct processes *p, const char *container)
{
    for (size_t i = 0; i < p->n_containers; i++)
        if (!strcmp(p->containers[i], container))
            return true;
    return p->n_containers == 0;
}

static void read_cgroup(int dir, struct spy_cgroup *ret)
{
    char text[CGROUP_MAX];
    ssize_t n = spy_file_read_small(dir, "cgroup", text, sizeof text);
    spy_cgroup_parse(text, n > 0 ? (size_t)n : 0, ret);
}

SPY_CLEANUP(free_listed_target, struct spy_target, spy_target_free)
SPY_CLEANUP(free_listed_python, struct spy_python, spy_python_free)

// Returns false if the process is gone or is not a Python process.
static bool find_listed_python(struct processes *p, struct row *r)
{
    struct spy_err why = {0};
    _cleanup_(free_listed_target) struct spy_target *t = NULL;
    _cleanup_(free_listed_python) struct spy_python *py = NULL;
    int code = spy_target_open(r->pid, &t, &why);
    if (code == 0) {
        spy_hung_mark_begin(&p->reads->mark, r->pid);
        code = spy_python_attach(t, &py, &why);
        spy_hung_mark_end(&p->reads->mark);
    }
    if (code == SPY_ERR_NOTFOUND || code == SPY_ERR_GONE)
        return false;
    if (code < 0)
        snprintf(r->problem, sizeof r->problem, "%s", why.msg[0] ? why.msg : spy_code_name(code));
    else
        snprintf(r->version, sizeof r->version, "%s", spy_python_runtime(py)->version);
    return true;
}

// Fills the row. Returns false if it is not to be printed.
static bool look_at_process(struct processes *p, int proc, struct row *r)
{
    _cleanup_close_ int dir = spy_proc_open(proc, r->pid);
    if (dir < 0 || spy_proc_stat_read(dir, r->pid, &r->stat) < 0 || r->stat.kernel ||
        spy_proc_dead(&r->stat) || spy_proc_status_read(dir, &r->status) < 0)
        return false;
    read_cgroup(dir, &r->cgroup);
    if (!is_wanted(p, r->cgroup.container_id) || !find_listed_python(p, r))
        return false;
    spy_proc_cmdline(r->pid, r->command, sizeof r->command);
    return true;
}

// --- output ---

static void print_json_field(struct spy_buf *out, const char *name, const char *text)
{
    spy_buf_printf(out, ", \"%s\": \"", name);
    spy_buf_json(out, text, strlen(text));
    spy_buf_putc(out, '"');
}

static void print_row_json(const struct row *r, bool first, struct spy_buf *out)
{
    spy_buf_printf(out, "%s  {\"pid\": %d, \"ns_pid\": %d, \"parent_pid\": %d", first ? "" : ",\n",
                   (int)r->pid, (int)r->status.ns_pid, (int)r->stat.ppid);
    print_json_field(out, "container_id", r->cgroup.container_id);
    print_json_field(out, "python_version", r->version);
    print_json_field(out, "problem", r->problem);
    print_json_field(out, "command", r->command);
    spy_buf_putc(out, '}');
}

static void print_row_text(const struct row *r, bool first, struct spy_buf *out)
{
    if (first)
        spy_buf_printf(out, "%8s %8s  %-12s  %-8s  %s\n", "PID", "NSPID", "CONTAINER", "PYTHON",
                       "COMMAND");
    spy_buf_printf(out, "%8d %8d  %-12.12s  %-8s  ", (int)r->pid, (int)r->status.ns_pid,
                   r->cgroup.container_id[0] ? r->cgroup.container_id : "-",
                   r->version[0] ? r->version : "?");
    spy_buf_shown(out, r->command);
    if (r->problem[0]) {
        spy_buf_puts(out, "  (");
        spy_buf_shown(out, r->problem);
        spy_buf_putc(out, ')');
    }
    spy_buf_putc(out, '\n');
}

// --- all of them ---

static void print_processes(struct processes *p, int proc, const struct spy_pids *pids,
                            struct spy_buf *out)
{
    for (size_t i = 0; i < pids->n && !spy_cli_stop; i++) {
        struct row r = {.pid = pids->list[i]};
        if (!look_at_process(p, proc, &r))
            continue;
        (p->json ? print_row_json : print_row_text)(&r, !p->n_printed, out);
        p->n_printed++;
    }
}

static int print_list(struct processes *p, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(OUTPUT_MAX);
    _cleanup_(spy_pids_done) struct spy_pids pids = {0};
    _cleanup_closedir_ DIR *proc = opendir("/proc");
    int r = proc ? spy_pids_list(&pids, proc) : SPY_ERR_IO;
    if (r < 0)
        return spy_err_set(err, r, errno, "cannot list /proc");
    spy_buf_puts(&out, p->json ? "[\n" : "");
    print_processes(p, dirfd(proc), &pids, &out);
    spy_buf_puts(&out, p->json ? "\n]\n" : "");
    if (spy_cli_stop)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "interrupted");
    if (out.failed)
        return spy_err_set(err, out.failed, 0, "the list is larger than %d bytes", OUTPUT_MAX);
    if (!p->n_printed && !p->json)
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0, "no Python process is visible here%s",
                           p->n_containers ? " in the given containers" : "");
    if (out.len)
        fwrite(out.data, 1, out.len, stdout);
    return spy_cli_flush(err);
}

static int run_processes(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .options = processes_options,
        .parser = parse_processes_option,
        .doc = "Lists the Python processes that are visible here, with their containers.",
    };
    _cleanup_(spy_hung_reads_end) struct spy_hung_reads reads = {.every = NULL};
    struct processes p = {.reads = &reads, .err = err};
    argp_parse(&argp, argc, argv, 0, NULL, &p);
    spy_cli_catch_signals();
    int r = spy_hung_reads_begin(&reads, spy_hung_reads_fail, NULL, err);
    return r < 0 ? r : print_list(&p, err);
}

const struct spy_command spy_command_processes = {
    .name = "processes",
    .summary = "list the Python processes that are visible here",
    .options = processes_options,
    .run = run_processes,
};
