// discover_pods CONFIG SECONDS: discovers as `podspy agent` does and samples nothing. Prints a JSON
// line for each event, and the list of problems whenever it changed.
#include "agent/discover/discover.h"
#include "shared/base/clock.h"
#include "tests/unit/agent/discover/problems.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(struct spy_buf *out, const char *key, const char *value)
{
    spy_buf_printf(out, ",\"%s\":\"", key);
    spy_buf_json(out, value, strlen(value));
    spy_buf_putc(out, '"');
}

static void print_line(const struct spy_buf *out)
{
    puts(spy_buf_str(out));
    fflush(stdout);
}

static void on_process(void *arg, enum spy_discover_event event, const struct spy_process *p)
{
    static const char *const names[] = {"added", "exec", "removed"};
    struct spy_buf out = SPY_BUF_INIT(65536);
    (void)arg;
    spy_buf_printf(&out, "{\"event\":\"%s\",\"at\":%.3f,\"pid\":%d,\"ppid\":%d,\"rate\":%u",
                   names[event], (double)spy_clock_real_ns() / 1e9, (int)p->pid, (int)p->ppid,
                   p->rate);
    spy_buf_printf(&out, ",\"native\":%s,\"lives\":%s", p->native ? "true" : "false",
                   p->lives ? "true" : "false");
    put(&out, "pod", p->place.pod);
    put(&out, "namespace", p->place.namespace_name);
    put(&out, "uid", p->place.pod_uid);
    put(&out, "container", p->place.container);
    put(&out, "container_id", p->place.container_id);
    put(&out, "image", p->place.image);
    put(&out, "service", p->place.service);
    put(&out, "reason", p->reason);
    put(&out, "command", p->command);
    spy_buf_putc(&out, '}');
    print_line(&out);
    spy_buf_free(&out);
}

static void print_problems(const struct spy_discover *d, struct spy_buf *last)
{
    struct spy_buf now = SPY_BUF_INIT(1 << 20);
    spy_buf_puts(&now, "{\"problems\":[");
    struct spy_buf list = SPY_BUF_INIT(1 << 20);
    put_problems(&list, d);
    spy_buf_append(&now, spy_buf_str(&list), list.len);
    spy_buf_free(&list);
    spy_buf_puts(&now, "]}");
    if (strcmp(spy_buf_str(&now), spy_buf_str(last)) != 0)
        print_line(&now);
    spy_buf_free(last);
    *last = now;
}

int main(int argc, char **argv)
{
    struct spy_agent_config config = {0};
    struct spy_discover *d = NULL;
    struct spy_err err = {0};
    uint64_t seconds = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    if (!seconds || spy_agent_config_load(argv[1], &config, &err) < 0 ||
        spy_discover_new(&config, "/proc", &d, &err) < 0) {
        fprintf(stderr, "discover_pods: %s\n", err.msg);
        return 1;
    }
    struct spy_buf last = SPY_BUF_INIT(1 << 20);
    uint64_t end = spy_clock_mono_ns() + seconds * SPY_NS_PER_SEC, slowest = 0;
    while (spy_clock_mono_ns() < end) {
        uint64_t began = spy_clock_mono_ns();
        if (spy_discover_poll(d, on_process, NULL, &err) < 0)
            fprintf(stderr, "discover_pods: %s\n", err.msg);
        uint64_t took = spy_clock_mono_ns() - began;
        slowest = took > slowest ? took : slowest;
        print_problems(d, &last);
        spy_clock_sleep_until(began + 100 * SPY_NS_PER_MS);
    }
    printf("{\"slowest_poll_ms\":%llu}\n", (unsigned long long)(slowest / SPY_NS_PER_MS));
    spy_buf_free(&last);
    spy_discover_free(d);
    spy_agent_config_free(&config);
    return 0;
}
