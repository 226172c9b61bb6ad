// What it costs to read the asyncio tasks of a process, and which chains are met:
//     bench_tasks PID READS
// prints a JSON object: tasks and CPU time of a read, tasks that changed too fast, and how often each
// chain was met, as names from the innermost frame.
#include "agent/python/async.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHAINS_MAX = 4096, CHAIN_MAX = 4096 };

static struct chain {
    char *text;
    unsigned long long n;
} chains[CHAINS_MAX];
static size_t n_chains;

static int count_chain(const char *text)
{
    size_t i = 0;
    while (i < n_chains && strcmp(chains[i].text, text) != 0)
        i++;
    if (i == CHAINS_MAX || (i == n_chains && !(chains[n_chains++].text = strdup(text))))
        return -1;
    chains[i].n++;
    return 0;
}

static int count_task(struct spy_python *p, const struct spy_py_tasks *tasks, size_t i)
{
    const struct spy_py_task *t = &tasks->list[i];
    char text[CHAIN_MAX] = "";
    size_t at = 0;
    if (t->changing || t->state == SPY_PY_TASK_RUNNING)
        return 0;
    for (uint32_t k = 0; k < t->n_frames && at < sizeof text; k++) {
        const struct spy_code *c =
            spy_codes_at(spy_python_codes(p), tasks->frames[t->first_frame + k].code);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", k ? ";" : "", c->name);
    }
    return count_chain(text);
}

static int read_once(struct spy_python *p, struct spy_py_tasks *tasks, uint64_t *cpu_ns)
{
    struct spy_py_tasks_step step = {NULL, NULL};
    uint64_t from = spy_clock_thread_cpu_ns();
    int r = spy_python_refresh(p);
    if (r == 0)
        r = spy_python_tasks(p, step, tasks);
    *cpu_ns += spy_clock_thread_cpu_ns() - from;
    for (size_t i = 0; i < tasks->n && r == 0; i++)
        r = count_task(p, tasks, i);
    return r;
}

int main(int argc, char **argv)
{
    struct spy_target *t;
    struct spy_python *p;
    struct spy_err err = {0};
    struct spy_py_tasks tasks = {0};
    unsigned long long n = 0, n_changing = 0, n_unlisted = 0;
    uint64_t cpu_ns = 0;
    long reads = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    if (reads <= 0 || spy_target_open((pid_t)strtol(argv[1], NULL, 10), &t, &err) < 0 ||
        spy_python_attach(t, &p, &err) < 0) {
        fprintf(stderr, "bench_tasks PID READS: %s\n", err.msg);
        return 2;
    }
    for (long i = 0; i < reads; i++) {
        if (read_once(p, &tasks, &cpu_ns) < 0)
            return 1;
        n += tasks.n;
        n_changing += tasks.n_changing;
        n_unlisted += tasks.n_unlisted;
    }
    printf("{\"tasks\": %llu, \"changing\": %llu, \"unlisted\": %llu, \"cpu_us_per_read\": %.1f, "
           "\"chains\": {",
           n, n_changing, n_unlisted, (double)cpu_ns / 1e3 / (double)reads);
    for (size_t i = 0; i < n_chains; i++)
        printf("%s\"%s\": %llu", i ? ", " : "", chains[i].text, chains[i].n);
    printf("}}\n");
    spy_py_tasks_done(&tasks);
    spy_python_free(p);
    spy_target_free(t);
    return 0;
}
