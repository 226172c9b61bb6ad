// The files of /proc/PID that a process can fill with what it likes, and their printable form.
#include "agent/discover/proc.h"
#include "shared/base/buf.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void must_be_clean(const char *s)
{
    for (size_t left = strlen(s); left;) {
        size_t n = spy_utf8_len(s, left);
        if (!n || (unsigned char)*s < 0x20)
            abort();
        s += n;
        left -= n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct spy_proc_args args;
    struct spy_proc_stat stat;
    struct spy_proc_status status;
    char out[100];
    const char *text = (const char *)data;
    if (spy_proc_stat_parse(text, size, &stat) == 0) {
        if (stat.pid < 0 || stat.ppid < 0 || strlen(stat.comm) >= SPY_PROC_COMM)
            abort();
        spy_proc_clean(out, sizeof out, stat.comm, strlen(stat.comm));
        must_be_clean(out);
    }
    spy_proc_status_parse(text, size, &status);
    spy_proc_args_parse(text, size, &args);
    if (args.len > SPY_PROC_ARGS || strlen(args.argv0) >= SPY_PROC_ARGV0 || args.joined[args.len])
        abort();
    spy_proc_clean(out, sizeof out, args.joined, args.len);
    must_be_clean(out);
    return 0;
}
