// How the node is watched cheaply: each poll asks the kernel for the last PID it gave out
// (/proc/loadavg). If that did not change, no process was started; if it did, only the PIDs in
// between are checked, which finds children at once. All of /proc is listed once a second, for what
// this misses. An opted-in process that has run is checked in each poll; the others in turn, a
// bounded number a poll, since they may call exec and then match a rule.
#include "agent/discover/admit.h"
#include "agent/discover/inside.h"
#include "agent/discover/take.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_NS      (1 * SPY_NS_PER_SEC)   // between two listings
#define LIST_ONLY_NS (200 * SPY_NS_PER_MS)  // the same where the kernel's last number does not help
#define YOUNG_NS     (5 * SPY_NS_PER_SEC)   // age until which a process is likely to call exec
#define CHECK_YOUNG  (800 * SPY_NS_PER_MS)  // between two checks of a young process
#define CHECK_OLD    (1800 * SPY_NS_PER_MS) // and of an old one

enum {
    NEW_MAX = 1024, // PIDs checked one by one; with more, listing is cheaper
    CHECKS = 50,    // of processes that are not opted in, a poll
    ROUNDS = 64,    // of looking for children of newly opted-in processes
};

// --- new processes ---

static void add_pid(struct spy_discover *d, pid_t pid)
{
    struct spy_entry *e = spy_table_find(&d->table, pid);
    if (!e) {
        e = spy_table_add(&d->table, pid);
        d->table_full = !e;
        if (!e)
            return;
        e->first_ns = d->now;
        spy_admit(d, e);
    }
    e->listed = d->listing;
}

static bool parse_pid(const char *name, pid_t *ret)
{
    long pid = 0;
    for (const char *p = name; *p; p++) {
        if (*p < '0' || *p > '9' || pid > INT32_MAX / 10 - 1)
            return false;
        pid = pid * 10 + (*p - '0');
    }
    *ret = (pid_t)pid;
    return pid > 0;
}

static int list_proc(struct spy_discover *d, struct spy_err *err)
{
    int fd = openat(d->proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        int sys = errno;
        if (fd >= 0)
            close(fd);
        return spy_err_set(err, spy_code_of_errno(sys), sys, "cannot list the processes");
    }
    d->listing++;
    d->listed_ns = d->now;
    d->table_full = false;
    for (struct dirent *entry; (entry = readdir(dir));) {
        pid_t pid;
        if (parse_pid(entry->d_name, &pid))
            add_pid(d, pid);
    }
    for (size_t i = 0; i < d->table.n; i++) {
        struct spy_entry *e = d->table.all[i];
        if (e->listed == d->listing)
            continue;
        spy_admit_end(d, e);
        e->gone = true;
    }
    spy_table_sweep(&d->table);
    return 0;
}

// /proc/TID exists for every thread too, though it is not listed.
static bool leads_its_group(struct spy_facts *f)
{
    const struct spy_proc_status *s = spy_facts_status(f);
    return s && s->tgid == f->stat.pid;
}

// Checks a PID given out since the last poll. Only children of opted-in processes are added here;
// the others can wait for the listing, and have often exited by then.
static void check_new_pid(struct spy_discover *d, pid_t pid)
{
    struct spy_facts *f = &d->facts;
    struct spy_entry *e = spy_table_find(&d->table, pid);
    if (spy_facts_open(f, d->proc, pid) == 0) {
        bool reused = e && e->start_time != f->stat.start_time;
        if (reused)
            spy_admit_open(d, e);
        else if (!e && spy_admit_parent(d, &f->stat) && leads_its_group(f) &&
                 (e = spy_table_add(&d->table, pid))) {
            e->first_ns = d->now;
            e->listed = d->listing;
            spy_admit_open(d, e);
        }
    }
    spy_facts_close(f);
}

// The fifth word: "0.10 0.05 0.01 1/123 4567". 0 when it is not known.
static pid_t last_pid(const struct spy_discover *d)
{
    char text[128];
    if (d->loadavg < 0 || spy_proc_pread(d->loadavg, text, sizeof text) < 0)
        return 0;
    text[strcspn(text, "\n")] = 0;
    const char *word = strrchr(text, ' ');
    pid_t pid;
    return word && parse_pid(word + 1, &pid) ? pid : 0;
}

// A PID is given out shortly before its process can be seen, so each is checked in two polls.
// Returns false when a listing is cheaper.
static bool check_new_pids(struct spy_discover *d)
{
    pid_t last = d->use_last ? last_pid(d) : 0, first = d->before_last;
    if (!last)
        return true;
    bool wrapped = last < d->last;
    if (wrapped || first > last)
        first = 0;
    d->before_last = wrapped ? 0 : d->last;
    d->last = last;
    if (last - first > NEW_MAX)
        return false;
    for (pid_t pid = first + 1; pid <= last; pid++)
        check_new_pid(d, pid);
    return !wrapped;
}

// --- known processes ---

static int stat_member(const struct spy_discover *d, const struct spy_entry *e,
                       struct spy_proc_stat *ret)
{
    return e->in->stat >= 0 ? spy_proc_stat_again(e->in->stat, ret)
                            : spy_proc_stat_peek(d->proc, e->pid, ret);
}

static void report_exec(struct spy_discover *d, struct spy_entry *e)
{
    if (spy_facts_open(&d->facts, d->proc, e->pid) == 0 &&
        d->facts.stat.start_time == e->start_time) {
        spy_member_describe(e->in, &d->facts);
        e->in->p.generation++;
        d->fn(d->arg, SPY_DISCOVER_EXEC, &e->in->p);
    }
    spy_facts_close(&d->facts);
}

// To exit or to call exec a process must run, and reading its CPU clock costs a third of reading its
// stat, unless it has many threads, whose times the kernel adds up. Changes that cost it no CPU time
// (another parent, another process with its PID and by chance its CPU time) are seen within a
// second. The kernel may report a running process's time some milliseconds late, which does no harm
// here.
static bool has_slept(const struct spy_entry *e, uint64_t cpu)
{
    enum { UNREAD_MAX = 9 };
    return cpu && cpu == e->in->cpu_ns && e->in->unread < UNREAD_MAX;
}

static void check_member(struct spy_discover *d, struct spy_entry *e)
{
    enum { CLOCK_THREADS = 32 };
    struct spy_member *m = e->in;
    struct spy_proc_stat s;
    bool ask = d->use_last && m->threads <= CLOCK_THREADS;
    uint64_t cpu = ask ? spy_clock_process_cpu_ns(e->pid) : 0;
    if (has_slept(e, cpu)) {
        m->unread++;
        return;
    }
    int r = stat_member(d, e, &s);
    m->cpu_ns = 0; // until stat was read without a surprise
    if (r == SPY_ERR_GONE || (r == 0 && spy_proc_dead(&s))) {
        e->dead = SPY_DEAD_TOLD;
        if (r ==
            SPY_ERR_GONE) // the next process with this PID is another one, even with these arguments
            e->start_time = e->args_hash = 0;
        spy_admit_end(d, e);
    } else if (r == 0 && s.start_time != e->start_time) {
        spy_admit(d, e);
    } else if (r == 0) {
        e->ppid = m->p.ppid = s.ppid;
        m->threads = s.threads;
        if (s.image && s.image != m->image) {
            report_exec(d, e);
        } else {
            m->cpu_ns = cpu;
            m->unread = 0;
        }
    }
}

static void check_members(struct spy_discover *d)
{
    for (size_t i = 0; i < d->table.n; i++)
        if (d->table.all[i]->in)
            check_member(d, d->table.all[i]);
}

// Decides again about a process whose arguments changed: it called exec, or is another process.
static void check_other(struct spy_discover *d, struct spy_entry *e)
{
    char text[SPY_PROC_ARGS + 1];
    struct spy_proc_args args;
    struct spy_proc_stat s;
    e->checked_ns = d->now;
    ssize_t n = spy_proc_peek(d->proc, e->pid, "cmdline", text, sizeof text);
    if (n < 0)
        return;
    spy_proc_args_parse(text, (size_t)n, &args);
    if (!n && e->args_hash != spy_hash_bytes(args.joined, args.len)) {
        // Its main thread has exited while others still run: read the arguments through another
        // thread.
        _cleanup_close_ int dir = spy_proc_open(d->proc, e->pid);
        if (dir >= 0)
            spy_proc_args_read(dir, &args);
    }
    bool changed =
        spy_hash_bytes(args.joined, args.len) != e->args_hash || e->dead == SPY_DEAD_SEEN;
    if (!changed && !d->use_last) // with use_last, a reused PID was noticed already
        changed = spy_proc_stat_peek(d->proc, e->pid, &s) == 0 && s.start_time != e->start_time;
    if (changed)
        spy_admit(d, e);
}

static bool is_due(const struct spy_discover *d, const struct spy_entry *e)
{
    bool young = d->now - e->first_ns < YOUNG_NS;
    return !e->in && !(e->kernel && d->use_last) &&
           d->now - e->checked_ns >= (young ? CHECK_YOUNG : CHECK_OLD);
}

static void check_others(struct spy_discover *d)
{
    int left = CHECKS;
    for (size_t i = 0, n = d->table.n; i < n && left; i++) {
        struct spy_entry *e = d->table.all[d->turn++ % n];
        if (is_due(d, e)) {
            check_other(d, e);
            left--;
        }
    }
}

// Adds descendants that started before their ancestor was opted in.
static void adopt_children(struct spy_discover *d)
{
    for (int round = 0; d->adopt && round < ROUNDS; round++) {
        d->adopt = false;
        for (size_t i = 0; i < d->table.n; i++) {
            struct spy_entry *e = d->table.all[i];
            const struct spy_entry *parent =
                e->in || e->kernel ? NULL : spy_table_find(&d->table, e->ppid);
            if (parent && parent->in)
                spy_admit(d, e);
        }
    }
}

// --- start, poll, end ---

// /proc/loadavg counts for the reader's own PID namespace. It helps only if proc shows that
// namespace, that is, if our own entry there has a single PID.
static void find_ourselves(struct spy_discover *d)
{
    struct spy_facts *f = &d->facts;
    struct spy_proc_status s;
    char text[32] = "";
    pid_t self = 0;
    if (readlinkat(d->proc, "self", text, sizeof text - 1) < 0 || !parse_pid(text, &self))
        return;
    d->self = self;
    f->dir = spy_proc_open(d->proc, self);
    d->use_last =
        f->dir >= 0 && spy_proc_status_read(f->dir, &s) == 0 && s.ns_depth == 1 && last_pid(d) > 0;
    spy_facts_close(f);
}

// With discovery.kubernetes: auto, a missing NODE_NAME is reported and not fatal.
static int start_kube(struct spy_discover *d, struct spy_err *err)
{
    struct spy_access access;
    int r = spy_access_find(d->config, &access, &d->no_kube);
    if (r < 0 && err)
        *err = d->no_kube;
    return r > 0 ? spy_kube_new(&access, &d->kube, err) : r;
}

static int start_sources(struct spy_discover *d, const char *proc_root, struct spy_err *err)
{
    const struct spy_agent_config *c = d->config;
    d->proc = open(proc_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->proc < 0)
        return spy_err_set(err, spy_code_of_errno(errno), errno, "cannot open %.150s", proc_root);
    d->loadavg = openat(d->proc, "loadavg", O_RDONLY | O_CLOEXEC);
    find_ourselves(d);
    int r = spy_rules_new(c->discovery.processes, c->discovery.n_processes, &d->rules, err);
    if (r == 0 && c->discovery.docker != SPY_SWITCH_OFF)
        r = spy_docker_new(c->discovery.docker_socket, c->discovery.annotation_prefix, &d->docker,
                           err);
    return r == 0 ? start_kube(d, err) : r;
}

int spy_discover_new(const struct spy_agent_config *config, const char *proc_root,
                     struct spy_discover **ret, struct spy_err *err)
{
    struct spy_discover *d = calloc(1, sizeof *d);
    if (!d)
        return spy_err_nomem(err);
    d->config = config;
    d->proc = d->loadavg = d->facts.dir = -1;
    int r = start_sources(d, proc_root, err);
    if (r < 0)
        spy_discover_free(d);
    else
        *ret = d;
    return r;
}

void spy_discover_free(struct spy_discover *d)
{
    if (!d)
        return;
    spy_docker_free(d->docker);
    spy_containers_free(&d->list);
    spy_kube_free(d->kube);
    spy_pods_free(&d->view.pods);
    spy_rules_free(d->rules);
    spy_table_free(&d->table);
    spy_admit_free_removed(d);
    spy_cleanup_close(&d->loadavg);
    spy_cleanup_close(&d->proc);
    free(d);
}

// Without rules, Kubernetes and Docker no process can be opted in.
static bool can_nobody_opt_in(const struct spy_discover *d)
{
    return !d->config->discovery.n_processes && !d->table.n_in && !d->kube &&
           (!d->docker || (d->answer.asked_ns && !d->answer.reached && !d->list.n));
}

int spy_discover_poll(struct spy_discover *d, spy_discover_fn fn, void *arg, struct spy_err *err)
{
    d->fn = fn;
    d->arg = arg;
    d->now = spy_clock_mono_ns();
    spy_admit_free_removed(d);
    spy_take_docker(d);
    spy_take_kube(d);
    if (can_nobody_opt_in(d))
        return 0;
    check_members(d);
    bool list = !check_new_pids(d) || !d->listing ||
                d->now - d->listed_ns >= (d->use_last ? LIST_NS : LIST_ONLY_NS);
    int r = list ? list_proc(d, err) : 0;
    check_others(d);
    adopt_children(d);
    return r;
}
