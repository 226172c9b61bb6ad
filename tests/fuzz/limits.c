// What tells of a process's CPU limit and its threads' waiting: any bytes are refused or read,
// paths stay inside of their bounds and never step up.
#include "agent/sampler/limits.h"
#include "agent/sampler/kernel.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void must_stay_below(const char *path)
{
    size_t len = strlen(path);
    if (len >= SPY_LIMITS_PATH || (len && path[0] != '/') || strstr(path, "/../") ||
        (len >= 3 && !strcmp(path + len - 3, "/..")))
        abort();
}

static void try_paths(const char *text, size_t size, const char *root)
{
    char below[SPY_LIMITS_PATH];
    bool v2;
    const char *path;
    size_t len;
    if (!spy_limits_cgroup(text, size, &v2, &path, &len))
        return;
    if (path < text || path + len > text + size || !len || path[0] != '/')
        abort();
    static const char *const owns[] = {"", "/kube/pod/me"};
    for (size_t i = 0; i < 2; i++)
        if (spy_limits_below(root, owns[i], path, len, below))
            must_stay_below(below);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char root[SPY_LIMITS_PATH], point[SPY_LIMITS_PATH];
    const char *bytes = (const char *)data;
    struct spy_throttle t;
    uint64_t cpu, delay;
    for (int v2 = 0; v2 < 2; v2++)
        if (spy_limits_mount(bytes, size, v2, root, point)) {
            if (root[0] != '/' || point[0] != '/' || strlen(root) >= SPY_LIMITS_PATH)
                abort();
            try_paths(bytes, size, root);
        }
    try_paths(bytes, size, "/");
    try_paths(bytes, size, "/../..");
    char *text = malloc(size + 1); // exact, so that a sanitizer sees a byte too many
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    spy_limits_stat(text, &t);
    spy_kernel_schedstat(text, &cpu, &delay);
    free(text);
    return 0;
}
