#include "agent/cli/cli.h"
#include "agent/target/threads.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int spy_cli_store(const struct spy_cli_option *rows, int key, const char *arg, void *into,
                  struct spy_err *err)
{
    const struct spy_cli_option *o = rows;
    while (o->key && o->key != key)
        o++;
    if (!o->key)
        return SPY_ERR_NOTFOUND;
    void *to = (char *)into + o->offset;
    if (o->kind == SPY_CLI_PID)
        return spy_cli_pid(arg, to, err);
    if (o->kind == SPY_CLI_TEXT)
        *(const char **)to = arg;
    else
        *(bool *)to = true;
    return 0;
}

int spy_cli_pid(const char *text, pid_t *ret, struct spy_err *err)
{
    char *end;
    errno = 0;
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    long v = strtol(text, &end, hex ? 16 : 10);
    if (errno || end == text || *end || v <= 0 || v > INT32_MAX)
        return spy_err_set(err, SPY_ERR_USAGE, 0,
                           "'%s' is not a process id; `pgrep -a python` lists some", text);
    *ret = (pid_t)v;
    return 0;
}

int spy_cli_number(const char *option, const char *text, double min, double max, double *ret,
                   struct spy_err *err)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (errno || end == text || *end || !(v >= min && v <= max))
        return spy_err_set(err, SPY_ERR_USAGE, 0, "%s takes a number from %g to %g, not '%s'",
                           option, min, max, text);
    *ret = v;
    return 0;
}

void spy_cli_cmdline(pid_t pid, char *out, size_t size)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    _cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ssize_t n = dir < 0 ? -1 : spy_threads_read_file(dir, "cmdline", out, size);
    if (n < 0)
        n = 0;
    while (n > 0 && (out[n - 1] == 0 || isspace((unsigned char)out[n - 1])))
        n--;
    for (ssize_t i = 0; i < n; i++)
        if (out[i] == 0)
            out[i] = ' ';
    out[n] = 0;
}

void spy_cli_print_error(const struct spy_err *err, int code)
{
    fprintf(stderr, "Error: %s\n", err->msg[0] ? err->msg : spy_code_name(code));
}
