#include "agent/cli/blocked.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VARIABLE "PODSPY_BLOCKED="

void spy_blocked_load(struct spy_blocked *b)
{
    const char *text = getenv("PODSPY_BLOCKED");
    *b = (struct spy_blocked){.n = 0};
    for (int pid, used; text && *text; text += used) {
        uint64_t start;
        used = 0;
        if (sscanf(text, " %d:%" SCNu64 "%n", &pid, &start, &used) < 2 || !used)
            return;
        if (pid > 0 && kill(pid, 0) == 0)
            spy_blocked_add(b, pid, start);
    }
}

bool spy_blocked_has(const struct spy_blocked *b, pid_t pid, uint64_t start_time)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->list[i].pid == pid && b->list[i].start_time == start_time)
            return true;
    return false;
}

void spy_blocked_add(struct spy_blocked *b, pid_t pid, uint64_t start_time)
{
    if (b->n == SPY_BLOCKED_MAX)
        memmove(&b->list[0], &b->list[1], --b->n * sizeof b->list[0]);
    b->list[b->n].pid = pid;
    b->list[b->n++].start_time = start_time;
}

// The environment with our variable in it. Owned as one block; the texts are borrowed.
static char **environment_with(char *variable)
{
    size_t n = 0, kept = 0;
    while (environ[n])
        n++;
    char **list = calloc(n + 2, sizeof *list);
    if (!list)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], VARIABLE, strlen(VARIABLE)) != 0)
            list[kept++] = environ[i];
    list[kept] = variable;
    return list;
}

static char **arguments_of(char **argv)
{
    static char program[] = "podspy", command[] = "agent";
    size_t n = 0;
    while (argv[n])
        n++;
    char **list = calloc(n + 2, sizeof *list);
    if (!list)
        return NULL;
    list[0] = program;
    list[1] = command;
    memcpy(list + 2, argv + 1, (n - 1) * sizeof *list);
    return list;
}

int spy_blocked_restart(const struct spy_blocked *b, char **argv, struct spy_err *err)
{
    char text[sizeof VARIABLE + SPY_BLOCKED_MAX * 34] = VARIABLE;
    size_t len = strlen(text);
    for (size_t i = 0; i < b->n; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%d:%" PRIu64 " ",
                                (int)b->list[i].pid, b->list[i].start_time);
    _cleanup_free_ char **env = environment_with(text), **args = arguments_of(argv);
    if (!env || !args)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    sigset_t none; // the program that begins here has this thread's mask
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC); // libcurl's sockets are not
    execve("/proc/self/exe", args, env);
    return spy_err_set(err, SPY_ERR_IO, errno, "cannot start anew");
}
