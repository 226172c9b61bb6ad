#include "children.h"
#include "shared/base/clock.h"
#include "tests/unit/test.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct child start_child(const char *script, const char *arg)
{
    struct child c;
    int to[2], from[2];
    char path[512];
    snprintf(path, sizeof path, "%s/%s", SCRIPTS, script);
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    c.pid = fork();
    if (c.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(to[0], 0);
        dup2(from[1], 1);
        execl("/usr/bin/python3", "python3", path, arg, (char *)NULL);
        _exit(1);
    }
    close(to[0]);
    close(from[1]);
    c.in = to[1];
    c.out = from[0];
    return c;
}

void read_line(const struct child *c, char *out, size_t size)
{
    size_t n = 0;
    while (n + 1 < size && read(c->out, out + n, 1) == 1 && out[n] != '\n')
        n++;
    out[n] = 0;
    assert_true(n > 0);
}

void end_child(const struct child *c)
{
    close(c->in);
    close(c->out);
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
}

struct child start_steady(void)
{
    char line[64];
    struct child c = start_child("steady.py", NULL);
    read_line(&c, line, sizeof line);
    return c;
}

struct spy_sampler *new_sampler(double budget)
{
    struct spy_sampler *s = NULL;
    struct spy_sampler_options o = {.budget_percent = budget};
    assert_int_equal(spy_sampler_new(&o, &s, NULL), 0);
    return s;
}

void add_process(struct spy_sampler *s, pid_t pid, uint32_t rate, enum spy_pausing pausing)
{
    char text[16];
    snprintf(text, sizeof text, "%d", (int)pid);
    const char *const labels[][2] = {{SPY_LABEL_PID, text}};
    struct spy_sampler_process p = {
        .pid = pid, .rate = rate, .pausing = pausing, .labels = labels, .n_labels = 1};
    assert_int_equal(spy_sampler_add(s, &p, NULL), 0);
}

void run_for(struct spy_sampler *s, double seconds)
{
    spy_sampler_run(s, spy_clock_mono_ns() + (uint64_t)(seconds * 1e9), NULL);
}
