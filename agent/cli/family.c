#include "agent/cli/family.h"
#include "agent/cli/cli.h"
#include "agent/cli/pids.h"
#include "agent/cli/program.h"
#include "agent/discover/proc.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COMMAND_MAX = 1024 };

struct member {
    pid_t pid, parent;
    uint64_t start_time; // clock ticks since boot; 0: the process had ended when it was added
    uint64_t image;      // see spy_proc_stat: changes when the process calls exec
    unsigned execs;
    bool given, attached, ended;
    unsigned n_unread; // for how many updates it could not be read
    bool is_listed;    // in options.unread
};

struct spy_family {
    struct spy_family_options options;
    DIR *proc;
    struct member *members; // the given processes first; ended descendants are dropped
    size_t n, cap;
    struct spy_pids seen, listed; // the latest listing, and the listing in progress
    size_t n_left_out;
    char command[COMMAND_MAX];
};

int spy_family_new(const struct spy_family_options *options, struct spy_family **ret,
                   struct spy_err *err)
{
    struct spy_family *f = calloc(1, sizeof *f);
    if (!f)
        return spy_err_nomem(err);
    f->options = *options;
    f->proc = opendir("/proc");
    if (!f->proc) {
        free(f);
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot list /proc");
    }
    *ret = f;
    return 0;
}

void spy_family_free(struct spy_family *f)
{
    if (!f)
        return;
    closedir(f->proc);
    free(f->members);
    spy_pids_done(&f->seen);
    spy_pids_done(&f->listed);
    free(f);
}

static struct member *find_member(const struct spy_family *f, pid_t pid)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->members[i].pid == pid)
            return &f->members[i];
    return NULL;
}

static void update_command(struct spy_family *f, const struct member *m)
{
    char now[COMMAND_MAX];
    if (m != f->members)
        return;
    spy_cli_cmdline(m->pid, now, sizeof now);
    if (*now) // an ended process has no command line
        memcpy(f->command, now, sizeof now);
}

static void update_image(const struct spy_family *f, struct member *m)
{
    struct spy_proc_stat s;
    if (spy_proc_stat_peek(dirfd(f->proc), m->pid, &s) == 0 && s.image)
        m->image = s.image;
    m->execs = spy_sampler_execs(f->options.sampler, m->pid);
}

static int add_to_sampler(const struct spy_family *f, const struct member *m, struct spy_err *err)
{
    char pid[16], parent[16], command[COMMAND_MAX];
    snprintf(pid, sizeof pid, "%d", (int)m->pid);
    snprintf(parent, sizeof parent, "%d", (int)m->parent);
    spy_cli_cmdline(m->pid, command, sizeof command);
    const char *const labels[][2] = {
        {SPY_LABEL_PID, pid}, {SPY_LABEL_COMMAND, command}, {SPY_LABEL_PARENT_PID, parent}};
    struct spy_sampler_process process = {.pid = m->pid,
                                          .start_time = m->given ? 0 : m->start_time,
                                          .rate = f->options.rate,
                                          .pausing = f->options.pausing,
                                          .natives = f->options.natives,
                                          .optional = !m->given || f->options.descendants,
                                          .labels = labels,
                                          .n_labels = m->parent ? 3 : 2};
    return spy_sampler_add(f->options.sampler, &process, err);
}

static int add_member(struct spy_family *f, const struct member *like, struct spy_err *err)
{
    if (spy_grow(&f->members, &f->cap, f->n + 1, sizeof *f->members, SPY_SAMPLER_PROCESSES_MAX) < 0)
        return spy_err_nomem(err);
    int r = add_to_sampler(f, like, err);
    if (r < 0)
        return r;
    f->members[f->n] = *like;
    update_image(f, &f->members[f->n]);
    update_command(f, &f->members[f->n++]);
    return 0;
}

int spy_family_add(struct spy_family *f, pid_t pid, struct spy_err *err)
{
    return add_member(f, &(struct member){.pid = pid, .given = true}, err);
}

// The sampler notices an exec when the interpreter has moved. If the new program has its
// interpreter at the same addresses (an executable that is not relocated), the image shows the
// exec.
static int follow_exec(struct spy_family *f, struct member *m, struct spy_err *err)
{
    uint64_t image = m->image;
    unsigned execs = m->execs;
    update_image(f, m);
    if (execs == m->execs && image == m->image)
        return 0;
    update_command(f, m);
    if (execs != m->execs || !m->attached)
        return 0;
    int r = add_to_sampler(f, m, err);
    m->execs = 0;
    return r;
}

// --- descendants ---

// A process of the latest listing needs no look: its parent changes only when the parent ends.
static int add_descendants(struct spy_family *f, struct spy_err *err)
{
    for (size_t i = 0; i < f->listed.n; i++) {
        struct spy_proc_stat s;
        pid_t pid = f->listed.list[i];
        if (spy_pids_has(&f->seen, pid) || spy_proc_stat_peek(dirfd(f->proc), pid, &s) < 0 ||
            !find_member(f, s.ppid) || find_member(f, pid))
            continue;
        if (f->n == SPY_SAMPLER_PROCESSES_MAX) {
            f->n_left_out++;
            continue;
        }
        struct member m = {.pid = pid, .parent = s.ppid, .start_time = s.start_time};
        int r = add_member(f, &m, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int find_descendants(struct spy_family *f, struct spy_err *err)
{
    if (spy_pids_list(&f->listed, f->proc) < 0)
        return spy_err_nomem(err);
    // A child usually has a higher number than its parent; if numbers have wrapped around, a
    // grandchild comes before its parent and is found in the second pass.
    size_t before;
    int r;
    do {
        before = f->n;
        r = add_descendants(f, err);
    } while (r == 0 && f->n > before);
    struct spy_pids swap = f->seen;
    f->seen = f->listed;
    f->listed = swap;
    return r;
}

static bool has_exited(const struct spy_family *f, const struct member *m)
{
    struct spy_proc_stat s;
    if (m->given || spy_sampler_attached(f->options.sampler, m->pid))
        return spy_sampler_ended(f->options.sampler, m->pid);
    return spy_proc_stat_peek(dirfd(f->proc), m->pid, &s) < 0 || s.start_time != m->start_time ||
           spy_proc_dead(&s);
}

static bool is_unreadable(const struct spy_family *f, const struct member *m)
{
    int r = spy_sampler_problem_code(f->options.sampler, m->pid);
    return r == SPY_ERR_DENIED || r == SPY_ERR_UNSUPPORTED || r == SPY_ERR_LIMIT;
}

// A descendant that is not Python is passed by. During exec and at its end a process cannot be read
// for a moment, which is not a reason to list it.
static void note_unread(const struct spy_family *f, struct member *m)
{
    enum { UPDATES = 3 };
    struct spy_unread *u = f->options.unread;
    if (!u || m->given)
        return;
    m->n_unread = m->attached || !is_unreadable(f, m) ? 0 : m->n_unread + 1;
    if (m->attached && m->is_listed)
        spy_unread_remove(u, m->pid);
    m->is_listed = m->is_listed && !m->attached;
    if (m->n_unread < UPDATES || m->is_listed)
        return;
    char command[COMMAND_MAX];
    spy_cli_cmdline(m->pid, command, sizeof command);
    spy_unread_add(u, m->pid, command, spy_sampler_problem(f->options.sampler, m->pid));
    m->is_listed = true;
}

static void drop_member(struct spy_family *f, size_t i)
{
    spy_sampler_remove(f->options.sampler, f->members[i].pid);
    memmove(&f->members[i], &f->members[i + 1], (f->n - i - 1) * sizeof *f->members);
    f->n--;
}

int spy_family_update(struct spy_family *f, struct spy_err *err)
{
    int r = f->options.descendants ? find_descendants(f, err) : 0;
    for (size_t i = 0; i < f->n && r == 0; i++) {
        struct member *m = &f->members[i];
        m->attached = m->attached || spy_sampler_attached(f->options.sampler, m->pid);
        m->ended = m->ended || has_exited(f, m);
        if (!m->ended)
            note_unread(f, m);
        if (!m->ended)
            r = follow_exec(f, m, err);
        else if (!m->given)
            drop_member(f, i--);
    }
    return r;
}

// --- what record and top ask ---

int spy_family_wait(struct spy_family *f, struct spy_err *err)
{
    uint64_t patience = (f->options.program ? 10 : 1) * SPY_NS_PER_SEC;
    uint64_t give_up = spy_clock_mono_ns() + patience;
    bool ended = false;
    while (!spy_cli_stop && !ended && spy_clock_mono_ns() <= give_up) {
        spy_sampler_run(f->options.sampler, spy_clock_mono_ns() + 10 * SPY_NS_PER_MS,
                        &spy_cli_stop);
        int r = spy_family_update(f, err);
        if (r < 0 || spy_family_attached(f))
            return r;
        ended = spy_family_ended(f);
    }
    if (spy_cli_stop)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "interrupted before the first sample");
    const char *problem = f->n ? spy_sampler_problem(f->options.sampler, f->members->pid) : NULL;
    return spy_err_set(err, ended ? SPY_ERR_GONE : SPY_ERR_NOTFOUND, 0, "%s",
                       problem ? problem : "the process has ended");
}

bool spy_family_is_alive(const struct spy_family *f, pid_t pid)
{
    struct spy_proc_stat s;
    return spy_proc_stat_peek(dirfd(f->proc), pid, &s) == 0 && !spy_proc_dead(&s);
}

bool spy_family_attached(const struct spy_family *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (spy_sampler_attached(f->options.sampler, f->members[i].pid))
            return true;
    return false;
}

bool spy_family_ended(const struct spy_family *f)
{
    if (f->options.program && !f->options.descendants)
        return spy_program_ended(f->options.program);
    for (size_t i = 0; i < f->n; i++)
        if (!f->members[i].ended && (f->members[i].given || f->members[i].attached))
            return false;
    return true;
}

size_t spy_family_n_left_out(const struct spy_family *f)
{
    return f->n_left_out;
}

const char *spy_family_command(const struct spy_family *f)
{
    return f->command;
}
