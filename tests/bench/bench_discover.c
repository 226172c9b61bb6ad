// bench_discover [OTHERS [MEMBERS [SECONDS]]]: what looking for processes costs. Starts that many
// idle processes, opts in some of them by a rule, polls every 100 ms as the agent does, and prints
// the CPU time of one core that the polls took. Ends the processes it started.
#include "agent/discover/discover.h"
#include "shared/base/clock.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES_MAX = 20000 };

static pid_t started[PROCESSES_MAX];
static size_t n_started;

static void start(const char *self, const char *mark, size_t n)
{
    for (size_t i = 0; i < n && n_started < PROCESSES_MAX; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            execl("/bin/sleep", self, "1000", (char *)NULL); // argv[0] holds the mark
            _exit(127);
        }
        if (pid < 0)
            break;
        started[n_started++] = pid;
    }
    fprintf(stderr, "%zu processes of %s\n", n, mark);
}

static void end_all(void)
{
    for (size_t i = 0; i < n_started; i++) {
        kill(started[i], SIGKILL);
        waitpid(started[i], NULL, 0);
    }
}

static void on_process(void *arg, enum spy_discover_event event, const struct spy_process *p)
{
    (void)p;
    *(size_t *)arg += event == SPY_DISCOVER_ADDED;
}

static uint64_t poll_cpu(struct spy_discover *d, size_t *members)
{
    struct spy_err err = {0};
    uint64_t t = spy_clock_cpu_ns();
    if (spy_discover_poll(d, on_process, members, &err) < 0)
        fprintf(stderr, "%s\n", err.msg);
    return spy_clock_cpu_ns() - t;
}

static size_t argument(int argc, char **argv, int i, size_t fallback)
{
    return argc > i ? (size_t)strtoul(argv[i], NULL, 10) : fallback;
}

int main(int argc, char **argv)
{
    static const char yaml[] = "discovery: {docker: off, processes: [{name: bench, cmdline: "
                               "'^podspy-bench-in', exe: 'podspy*'}]}";
    size_t others = argument(argc, argv, 1, 1000), in = argument(argc, argv, 2, 20);
    size_t seconds = argument(argc, argv, 3, 10), members = 0, polls = 0;
    struct spy_agent_config config;
    struct spy_discover *d = NULL;
    struct spy_err err = {0};
    start("podspy-bench-out", "others", others);
    start("podspy-bench-in", "members", in);
    sleep(1);
    if (spy_agent_config_parse("bench", yaml, strlen(yaml), &config, &err) < 0 ||
        spy_discover_new(&config, "/proc", &d, &err) < 0) {
        fprintf(stderr, "bench_discover: %s\n", err.msg);
        end_all();
        return 1;
    }
    uint64_t first = poll_cpu(d, &members), cpu = 0, most = 0;
    uint64_t begin = spy_clock_mono_ns(), end = begin + seconds * SPY_NS_PER_SEC;
    for (uint64_t due = begin; due < end; polls++) {
        due += 100 * SPY_NS_PER_MS;
        spy_clock_sleep_until(due);
        uint64_t t = poll_cpu(d, &members);
        cpu += t;
        most = t > most ? t : most;
    }
    printf("processes %zu, opted in %zu\n", others + in, members);
    printf("first poll %.2f ms, then mean %.3f ms, most %.2f ms, %.3f %% of a core\n",
           (double)first / 1e6, (double)cpu / 1e6 / (double)polls, (double)most / 1e6,
           100.0 * (double)cpu / (double)(spy_clock_mono_ns() - begin));
    spy_discover_free(d);
    spy_agent_config_free(&config);
    end_all();
    return 0;
}
