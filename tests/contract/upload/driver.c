// Drives agent/upload from a test: options as KEY=VALUE arguments (compression: zstd), commands as
// lines on stdin, one line of answer for each.
//
//     window PID SAMPLES   a window of one series     -> "window PROFILE_ID" or "error MESSAGE"
//     flush SECONDS        waits for the spool        -> "flushed" or "waiting"
//     metric NAME[LABELS]  one row                    -> "metric VALUE"
//     quit                 stops the thread and ends  -> "bye"
#include "agent/upload/upload.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int make_window(struct spy_profile *p, const char *pid, uint64_t n, uint32_t *ret)
{
    struct spy_label labels[2];
    struct spy_function f = {.kind = SPY_FRAME_PYTHON};
    struct spy_frame frame = {.line = 1};
    uint32_t id, stack;
    int bad = spy_profile_cstr(p, SPY_LABEL_PID, &labels[0].key) |
              spy_profile_cstr(p, pid, &labels[0].value) |
              spy_profile_cstr(p, SPY_LABEL_HOST, &labels[1].key) |
              spy_profile_cstr(p, "driver", &labels[1].value) |
              spy_profile_series(p, labels, 2, ret) | spy_profile_cstr(p, "work", &f.name) |
              spy_profile_cstr(p, "/srv/app.py", &f.filename) |
              spy_profile_function(p, &f, &frame.function) | spy_profile_frame(p, frame, &id) |
              spy_profile_stack(p, 0, id, &stack) |
              spy_profile_add(p, *ret, stack, 0, SPY_STATE_RUNNING, n, n * 10 * SPY_NS_PER_MS);
    struct spy_series *s = spy_profile_series_at(p, *ret);
    s->start_ns = spy_clock_real_ns();
    s->duration_ns = SPY_NS_PER_SEC;
    s->period_ns = 10 * SPY_NS_PER_MS;
    s->quality.clean = n;
    return bad;
}

static void window(struct spy_upload *u, const char *pid, uint64_t n)
{
    struct spy_profile *p = spy_profile_new();
    struct spy_err err = {0};
    uint32_t id = 0;
    if (!p || make_window(p, pid, n, &id))
        abort();
    if (spy_upload_window(u, p, &err) < 0) {
        printf("error %s\n", err.msg);
    } else {
        printf("window ");
        for (int i = 0; i < 16; i++)
            printf("%02x", spy_profile_series_get(p, id)->profile_id[i]);
        printf("\n");
    }
    spy_profile_free(p);
}

static void metric(const char *name)
{
    for (size_t i = 0; i < spy_upload_n_metrics; i++) {
        const struct spy_metric *m = &spy_upload_metrics[i];
        char full[256];
        snprintf(full, sizeof full, "%s%s%s%s", m->name, m->labels ? "{" : "",
                 m->labels ? m->labels : "", m->labels ? "}" : "");
        if (!strcmp(full, name)) {
            printf("metric %lld\n", (long long)spy_metric_get(m->value));
            return;
        }
    }
    printf("error no metric %s\n", name);
}

static const char *value_of(int argc, char **argv, const char *key)
{
    size_t len = strlen(key);
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], key, len) && argv[i][len] == '=')
            return argv[i] + len + 1;
    return NULL;
}

int main(int argc, char **argv)
{
    static const char *const compressions[] = {"auto", "zstd", "gzip", "none"};
    const char *compression = value_of(argc, argv, "compression");
    const char *spool = value_of(argc, argv, "spool_bytes"),
               *timeout = value_of(argc, argv, "timeout_ms");
    struct spy_upload_options o = {
        .url = value_of(argc, argv, "url"),
        .ca_file = value_of(argc, argv, "ca"),
        .token_file = value_of(argc, argv, "token"),
        .cert_file = value_of(argc, argv, "cert"),
        .key_file = value_of(argc, argv, "key"),
        .spool_dir = value_of(argc, argv, "dir"),
        .spool_bytes = spool ? strtoull(spool, NULL, 10) : 16 << 20,
        .timeout_ns = timeout ? strtoull(timeout, NULL, 10) * SPY_NS_PER_MS : 0,
    };
    o.compression = SPY_PUSH_ZSTD;
    for (unsigned i = 0; compression && i < 4; i++)
        if (!strcmp(compression, compressions[i]))
            o.compression = (enum spy_push_compression)i;
    struct spy_upload *u;
    struct spy_err err = {0};
    char line[512], word[256];
    unsigned long long n;
    setvbuf(stdout, NULL, _IOLBF, 0);
    spy_log_set_level("debug", NULL);
    if (spy_upload_new(&o, &u, &err) < 0) {
        printf("error %s\n", err.msg);
        return 1;
    }
    printf("ready\n");
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "window %255s %llu", word, &n) == 2)
            window(u, word, n);
        else if (sscanf(line, "flush %llu", &n) == 1)
            printf("%s\n", spy_upload_flush(u, n * SPY_NS_PER_SEC) ? "waiting" : "flushed");
        else if (sscanf(line, "metric %255s", word) == 1)
            metric(word);
        else if (!strcmp(line, "quit\n"))
            break;
    }
    spy_upload_free(u);
    printf("bye\n");
    return 0;
}
