#include "agent/discover/proc.h"
#include "agent/target/threads.h"
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/base/file.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PF_KTHREAD 0x00200000u

// Fields of stat by their numbers in proc_pid_stat(5).
enum { F_STATE = 3, F_PPID = 4, F_FLAGS = 9, F_THREADS = 20, F_START = 22, F_STACK = 28 };

// Reads an unsigned number at *at and moves past it. False when there is none or it is too large.
static bool number(const char **at, const char *end, uint64_t max, uint64_t *ret)
{
    const char *p = *at;
    uint64_t v = 0;
    while (p < end && *p >= '0' && *p <= '9') {
        uint64_t digit = (uint64_t)(*p++ - '0');
        if (v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    bool ok = p > *at;
    *at = p;
    if (ok)
        *ret = v;
    return ok;
}

static bool skip_field(const char **at, const char *end)
{
    const char *p = memchr(*at, ' ', (size_t)(end - *at));
    *at = p ? p + 1 : end;
    return p != NULL;
}

// The numbers after the state: fields[n] is field n; negative ones count as 0.
static bool stat_numbers(const char *p, const char *end, uint64_t fields[F_STACK + 1])
{
    for (int i = F_PPID; i <= F_STACK; i++) {
        if (!skip_field(&p, end))
            return false;
        const char *q = p;
        fields[i] = 0;
        if (q < end && *q != '-' && !number(&q, end, UINT64_MAX, &fields[i]))
            return false;
    }
    return true;
}

int spy_proc_stat_parse(const char *text, size_t len, struct spy_proc_stat *ret)
{
    struct spy_proc_stat s = {0};
    const char *p = text, *end = text + len;
    uint64_t pid, fields[F_STACK + 1];
    if (!number(&p, end, INT32_MAX, &pid) || end - p < 2 || p[0] != ' ' || p[1] != '(')
        return SPY_ERR_INVALID;
    // The name may hold ')' itself; nothing after it does.
    const char *name = p + 2, *close = memrchr(name, ')', (size_t)(end - name));
    if (!close || end - close < 3 || close[1] != ' ')
        return SPY_ERR_INVALID;
    size_t n = (size_t)(close - name);
    n = n < sizeof s.comm - 1 ? n : sizeof s.comm - 1;
    memcpy(s.comm, name, n);
    s.state = close[2];
    if (!stat_numbers(close + 2, end, fields) || fields[F_PPID] > INT32_MAX)
        return SPY_ERR_INVALID;
    s.pid = (pid_t)pid;
    s.ppid = (pid_t)fields[F_PPID];
    s.kernel = fields[F_FLAGS] & PF_KTHREAD;
    s.threads = fields[F_THREADS] < UINT32_MAX ? (uint32_t)fields[F_THREADS] : UINT32_MAX;
    s.start_time = fields[F_START];
    if (fields[26] | fields[27] | fields[F_STACK])
        s.image = spy_hash_mix(spy_hash_mix(fields[26], fields[27]), fields[F_STACK]);
    *ret = s;
    return 0;
}

static void skip_blanks(const char **at, const char *end)
{
    while (*at < end && (**at == ' ' || **at == '\t'))
        ++*at;
}

// Numbers of one line of status: the first `want` into v; returns how many there are.
static int line_numbers(const char *p, const char *end, uint64_t *v, int want, uint64_t *last)
{
    int n = 0;
    for (uint64_t x;; n++) {
        skip_blanks(&p, end);
        if (!number(&p, end, UINT32_MAX, &x))
            return n;
        if (n < want)
            v[n] = x;
        *last = x;
    }
}

int spy_proc_status_parse(const char *text, size_t len, struct spy_proc_status *ret)
{
    struct spy_proc_status s = {0};
    bool tgid = false, uid = false;
    uint64_t v[2], last = 0;
    for (const char *p = text, *end = text + len; p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        eol = eol ? eol : end;
        size_t n = (size_t)(eol - p);
        if (n > 5 && memcmp(p, "Tgid:", 5) == 0 && line_numbers(p + 5, eol, v, 1, &last) == 1) {
            s.tgid = (pid_t)v[0];
            tgid = true;
        } else if (n > 4 && memcmp(p, "Uid:", 4) == 0 &&
                   line_numbers(p + 4, eol, v, 2, &last) >= 2) {
            s.uid = (uid_t)v[1];
            uid = true;
        } else if (n > 6 && memcmp(p, "NSpid:", 6) == 0) {
            s.ns_depth = line_numbers(p + 6, eol, v, 0, &last);
            s.ns_pid = s.ns_depth ? (pid_t)last : 0;
        }
        p = eol < end ? eol + 1 : end;
    }
    if (!tgid || !uid)
        return SPY_ERR_INVALID;
    *ret = s;
    return 0;
}

void spy_proc_args_parse(const char *text, size_t len, struct spy_proc_args *ret)
{
    len = len < SPY_PROC_ARGS ? len : SPY_PROC_ARGS;
    size_t first = strnlen(text, len);
    first = first < sizeof ret->argv0 - 1 ? first : sizeof ret->argv0 - 1;
    memcpy(ret->argv0, text, first);
    ret->argv0[first] = 0;
    while (len && (text[len - 1] == 0 || text[len - 1] == ' '))
        len--;
    for (size_t i = 0; i < len; i++)
        ret->joined[i] = text[i] ? text[i] : ' ';
    ret->joined[len] = 0;
    ret->len = len;
}

enum { STAT_NAME = 32 };

static const char *stat_name(char out[STAT_NAME], pid_t pid)
{
    snprintf(out, STAT_NAME, "task/%d/stat", (int)pid);
    return out;
}

int spy_proc_stat_open(int dir, pid_t pid)
{
    char name[STAT_NAME];
    int fd = openat(dir, stat_name(name, pid), O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd : spy_code_of_errno(errno);
}

int spy_proc_stat_again(int fd, struct spy_proc_stat *ret)
{
    char text[SPY_PROC_STAT];
    ssize_t n = spy_proc_pread(fd, text, sizeof text);
    return n < 0 ? (int)n : spy_proc_stat_parse(text, (size_t)n, ret);
}

int spy_proc_stat_read(int dir, pid_t pid, struct spy_proc_stat *ret)
{
    _cleanup_close_ int fd = spy_proc_stat_open(dir, pid);
    return fd < 0 ? fd : spy_proc_stat_again(fd, ret);
}

int spy_proc_stat_peek(int proc, pid_t pid, struct spy_proc_stat *ret)
{
    char name[STAT_NAME], text[SPY_PROC_STAT];
    ssize_t n = spy_proc_peek(proc, pid, stat_name(name, pid), text, sizeof text);
    return n < 0 ? (int)n : spy_proc_stat_parse(text, (size_t)n, ret);
}

int spy_proc_status_read(int dir, struct spy_proc_status *ret)
{
    char text[8192];
    ssize_t n = spy_file_read_small(dir, "status", text, sizeof text);
    return n < 0 ? (int)n : spy_proc_status_parse(text, (size_t)n, ret);
}

int spy_proc_args_read(int dir, struct spy_proc_args *ret)
{
    char text[SPY_PROC_ARGS + 1];
    ssize_t n = spy_threads_read_file(dir, "cmdline", text, sizeof text);
    if (n < 0)
        return (int)n;
    spy_proc_args_parse(text, (size_t)n, ret);
    return 0;
}

int spy_proc_open(int proc, pid_t pid)
{
    char name[16];
    snprintf(name, sizeof name, "%d", (int)pid);
    int fd = openat(proc, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : spy_code_of_errno(errno);
}

ssize_t spy_proc_pread(int fd, char *out, size_t size)
{
    ssize_t n = pread(fd, out, size - 1, 0);
    if (n < 0)
        return spy_code_of_errno(errno);
    out[n] = 0;
    return n;
}

ssize_t spy_proc_peek(int proc, pid_t pid, const char *name, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "%d/%s", (int)pid, name);
    _cleanup_close_ int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? spy_code_of_errno(errno) : spy_proc_pread(fd, out, size);
}

void spy_proc_cmdline(pid_t pid, char *out, size_t size)
{
    char path[40];
    struct spy_proc_args args = {.len = 0};
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    _cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0)
        spy_proc_args_read(dir, &args);
    spy_proc_clean(out, size < SPY_PROC_CMDLINE ? size : SPY_PROC_CMDLINE, args.joined, args.len);
}

void spy_proc_clean(char *out, size_t size, const char *text, size_t len)
{
    size_t at = 0;
    for (size_t i = 0; i < len;) {
        size_t n = spy_utf8_len(text + i, len - i);
        size_t put = n ? n : 1;
        if (at + put >= size)
            break;
        unsigned char c = (unsigned char)text[i];
        if (!n || c < 0x20 || c == 0x7f)
            out[at++] = '?';
        else
            for (size_t k = 0; k < n; k++)
                out[at++] = text[i + k];
        i += put;
    }
    out[at] = 0;
}
