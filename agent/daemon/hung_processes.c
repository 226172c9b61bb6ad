#include "agent/daemon/hung_processes.h"
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

void spy_hung_processes_load(struct spy_hung_processes *h)
{
    const char *text = getenv("PODSPY_BLOCKED");
    *h = (struct spy_hung_processes){.n = 0};
    for (int pid, used; text && *text; text += used) {
        uint64_t start;
        used = 0;
        if (sscanf(text, " %d:%" SCNu64 "%n", &pid, &start, &used) < 2 || !used)
            return;
        if (pid > 0 && kill(pid, 0) == 0)
            spy_hung_processes_add(h, pid, start);
    }
}

bool spy_hung_processes_has(const struct spy_hung_processes *h, pid_t pid, uint64_t start_time)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->list[i].pid == pid && h->list[i].start_time == start_time)
            return true;
    return false;
}

void spy_hung_processes_add(struct spy_hung_processes *h, pid_t pid, uint64_t start_time)
{
    if (h->n == SPY_HUNG_PROCESSES_MAX)
        memmove(&h->list[0], &h->list[1], --h->n * sizeof h->list[0]);
    h->list[h->n].pid = pid;
    h->list[h->n++].start_time = start_time;
}

// The environment with our variable added. The caller frees the array; the texts are borrowed.
static char **make_environment(char *variable)
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

static char **make_arguments(char **argv)
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

int spy_hung_processes_restart(const struct spy_hung_processes *h, char **argv, struct spy_err *err)
{
    char text[sizeof VARIABLE + SPY_HUNG_PROCESSES_MAX * 34] = VARIABLE;
    size_t len = strlen(text);
    for (size_t i = 0; i < h->n; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%d:%" PRIu64 " ",
                                (int)h->list[i].pid, h->list[i].start_time);
    _cleanup_free_ char **env = make_environment(text), **args = make_arguments(argv);
    if (!env || !args)
        return spy_err_nomem(err);
    sigset_t none; // exec keeps the mask of this thread
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC); // libcurl's sockets lack the flag
    execve("/proc/self/exe", args, env);
    return spy_err_set(err, SPY_ERR_IO, errno, "cannot restart");
}
