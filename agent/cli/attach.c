#include "agent/cli/attach.h"
#include "agent/cli/cli.h"
#include "agent/cli/pids.h"
#include "agent/cli/subject.h"
#include "agent/daemon/hung_reads.h"
#include "agent/discover/proc.h"
#include "agent/python/python.h"
#include "shared/base/mem.h"
#include "shared/base/regex.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COMMAND_MAX = 4096, ANCESTORS_MAX = 64 };

// A search in /proc.
struct finder {
    DIR *proc;
    struct spy_hung_reads reads;
    struct spy_regex *pattern; // NULL: every process
    pid_t passed[ANCESTORS_MAX];
    size_t n_passed;
    char command[COMMAND_MAX]; // of the process under way
};

static void close_finder(struct finder *f)
{
    spy_hung_reads_end(&f->reads);
    spy_regex_free(f->pattern);
    if (f->proc)
        closedir(f->proc);
}

static int open_finder(struct finder *f, const char *pattern, struct spy_err *err)
{
    struct spy_err why = {0};
    int r = pattern ? spy_regex_new(pattern, &f->pattern, &why) : 0;
    if (r < 0)
        return spy_err_set(err, r == SPY_ERR_NOMEM ? r : SPY_ERR_USAGE, 0,
                           "--pid '%.60s' is neither a process id nor a pattern: %s", pattern,
                           why.msg);
    f->proc = opendir("/proc");
    if (!f->proc)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot list /proc");
    f->passed[f->n_passed++] = getpid();
    return spy_hung_reads_begin(&f->reads, spy_hung_reads_fail, NULL, err);
}

static void pass_ancestors(struct finder *f)
{
    struct spy_proc_stat s;
    while (f->n_passed < ANCESTORS_MAX &&
           spy_proc_stat_peek(dirfd(f->proc), f->passed[f->n_passed - 1], &s) == 0 && s.ppid > 0)
        f->passed[f->n_passed++] = s.ppid;
}

static bool is_passed(const struct finder *f, pid_t pid)
{
    for (size_t i = 0; i < f->n_passed; i++)
        if (f->passed[i] == pid)
            return true;
    return false;
}

// Whether the process is to be looked at: then its command line is in f->command. Kernel threads and
// processes that have ended have none.
static bool is_searched(struct finder *f, pid_t pid)
{
    if (is_passed(f, pid))
        return false;
    spy_hung_mark_begin(&f->reads.mark, pid);
    spy_cli_cmdline(pid, f->command, sizeof f->command);
    spy_hung_mark_end(&f->reads.mark);
    return f->command[0] &&
           (!f->pattern || spy_regex_search(f->pattern, f->command, strlen(f->command)) == 1);
}

// 0: its Python can be read; else the codes of spy_target_open and spy_python_attach.
static int try_python(struct finder *f, pid_t pid, struct spy_err *err)
{
    struct spy_target *t = NULL;
    struct spy_python *py = NULL;
    spy_hung_mark_begin(&f->reads.mark, pid);
    int r = spy_target_open(pid, &t, err);
    if (r == 0)
        r = spy_python_attach(t, &py, err);
    spy_hung_mark_end(&f->reads.mark);
    spy_python_free(py);
    spy_target_free(t);
    return r;
}

// The next process that is wanted and may have Python; 0: there are no more. *ret_r: try_python's.
static pid_t find_next(struct finder *f, int *ret_r, struct spy_err *err)
{
    for (pid_t pid; !spy_cli_stop && (pid = spy_pids_next(f->proc));) {
        if (!is_searched(f, pid))
            continue;
        *ret_r = try_python(f, pid, err);
        if (*ret_r != SPY_ERR_NOTFOUND && *ret_r != SPY_ERR_GONE)
            return pid;
    }
    return 0;
}

// --- by pattern ---

static int report_matches(const char *pattern, const struct spy_unread *matches,
                          struct spy_err *err)
{
    size_t n = matches->n + matches->n_more;
    if (!n)
        return spy_err_set(
            err, SPY_ERR_NOTFOUND, 0,
            "no Python process has '%s' in its command line: try another pattern, or "
            "a process id (pgrep -af python lists some)",
            pattern);
    for (size_t i = 0; i < matches->n; i++) {
        const struct spy_unread_process *p = &matches->list[i];
        fprintf(stderr, "%8d  %s%s%s\n", (int)p->pid, p->command, *p->reason ? "  -- " : "",
                p->reason);
    }
    return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                       "%zu processes match '%s': give the id of one as --pid, or a pattern that "
                       "only one matches",
                       n, pattern);
}

static int find_match(const char *pattern, pid_t *ret, struct spy_err *err)
{
    _cleanup_(close_finder) struct finder f = {.reads = {.every = NULL}};
    _cleanup_(spy_unread_free) struct spy_unread matches = {0};
    int r = open_finder(&f, pattern, err);
    if (r < 0)
        return r;
    pass_ancestors(&f);
    pid_t pid, first = 0;
    struct spy_err why = {0};
    while ((pid = find_next(&f, &r, &why))) {
        first = first ? first : pid;
        spy_unread_add(&matches, pid, f.command, r < 0 ? why.msg : "");
    }
    if (matches.n + matches.n_more != 1)
        return report_matches(pattern, &matches, err);
    *ret = first;
    return 0;
}

static bool is_number(const char *text)
{
    char *end;
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    errno = 0;
    strtol(text, &end, hex ? 16 : 10);
    return !*text || hex || (end != text && !*end);
}

int spy_cli_find_process(const char *text, pid_t *ret, struct spy_err *err)
{
    if (!is_number(text))
        return find_match(text, ret, err);
    int r = spy_cli_pid(text, ret, err);
    if (r == 0)
        spy_cli_resolve_thread(ret);
    return r;
}

// --- all ---

// By what anyone may see: the name of its program.
static bool looks_like_python(const char *command)
{
    const char *end = strchr(command, ' ');
    size_t len = end ? (size_t)(end - command) : strlen(command);
    return memmem(command, len, "python", strlen("python"));
}

int spy_cli_find_all(pid_t *ret, size_t max, size_t *ret_n, struct spy_unread *unread,
                     struct spy_err *err)
{
    _cleanup_(close_finder) struct finder f = {.reads = {.every = NULL}};
    struct spy_err why = {0};
    size_t n = 0;
    int r = open_finder(&f, NULL, err);
    if (r < 0)
        return r;
    for (pid_t pid; (pid = find_next(&f, &r, &why));) {
        if (r < 0 && (r != SPY_ERR_DENIED || looks_like_python(f.command)))
            spy_unread_add(unread, pid, f.command, why.msg);
        if (r < 0)
            continue;
        if (n == max)
            return spy_err_set(err, SPY_ERR_LIMIT, 0,
                               "there are more than %zu Python processes: "
                               "choose some of them with --pid",
                               max);
        ret[n++] = pid;
    }
    if (!n)
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "there is no Python process that may be read%s",
                           unread->n ? "; the lines above say why" : "");
    *ret_n = n;
    return 0;
}
