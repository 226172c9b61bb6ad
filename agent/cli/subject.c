#include "agent/cli/subject.h"
#include "shared/base/file.h"
#include "shared/base/text.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// /proc/N exists for every thread as well, although it is not listed.
void spy_cli_resolve_thread(pid_t *pid)
{
    static const char mark[] = "\nTgid:\t";
    char path[32], status[4096];
    snprintf(path, sizeof path, "/proc/%d/status", (int)*pid);
    if (spy_file_read_small(AT_FDCWD, path, status, sizeof status) < 0)
        return;
    const char *line = strstr(status, mark);
    long process = line ? strtol(line + strlen(mark), NULL, 10) : 0;
    if (process <= 0 || process == *pid)
        return;
    fprintf(stderr, "podspy: %d is a thread of process %ld: reading that process\n", (int)*pid,
            process);
    *pid = (pid_t)process;
}

void spy_cli_print_other(pid_t pid, const struct spy_py_runtime *rt)
{
    char shown[4 * sizeof rt->other_module];
    if (rt->other_module[0])
        fprintf(stderr,
                "podspy: two interpreters run in process %d: Python %s is read, with more threads; "
                "Python %s (%s) is not\n",
                (int)pid, rt->version, rt->other_version,
                spy_text_show(shown, sizeof shown, rt->other_module));
}
