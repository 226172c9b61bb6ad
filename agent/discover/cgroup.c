#include "agent/discover/cgroup.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <string.h>

enum { ID_LEN = 64, UID_LEN = 36, STATIC_UID_LEN = 32 };

// Names of a container's own cgroup: prefix, then the id, then nothing or suffix. The monitors of a
// container ("crio-conmon-ID.scope") are not in it and do not match, as "conmon-" is not an id.
static const struct {
    const char *prefix;
    enum spy_runtime runtime;
} container_names[] = {
    {"docker-", SPY_RUNTIME_DOCKER},
    {"cri-containerd-", SPY_RUNTIME_CONTAINERD},
    {"containerd-", SPY_RUNTIME_CONTAINERD},
    {"nerdctl-", SPY_RUNTIME_CONTAINERD},
    {"crio-", SPY_RUNTIME_CRIO},
    {"libpod-payload-", SPY_RUNTIME_PODMAN},
    {"libpod-", SPY_RUNTIME_PODMAN},
    {"docker:", SPY_RUNTIME_DOCKER},
    {"cri-containerd:", SPY_RUNTIME_CONTAINERD},
    {"nerdctl:", SPY_RUNTIME_CONTAINERD},
    {"crio:", SPY_RUNTIME_CRIO},
    {"libpod:", SPY_RUNTIME_PODMAN},
    {"", SPY_RUNTIME_UNKNOWN},
};

// The cgroup above one whose whole name is the id.
static const struct {
    const char *name;
    enum spy_runtime runtime;
} parent_names[] = {
    {"docker", SPY_RUNTIME_DOCKER},
    {"libpod_parent", SPY_RUNTIME_PODMAN},
    {"cri-containerd", SPY_RUNTIME_CONTAINERD},
};

struct part {
    const char *s;
    size_t len;
};

static bool part_is(struct part p, const char *name)
{
    return p.len == strlen(name) && memcmp(p.s, name, p.len) == 0;
}

static bool part_strip(struct part *p, const char *prefix)
{
    size_t n = strlen(prefix);
    if (p->len < n || memcmp(p->s, prefix, n) != 0)
        return false;
    p->s += n;
    p->len -= n;
    return true;
}

static bool part_strip_end(struct part *p, const char *suffix)
{
    size_t n = strlen(suffix);
    if (p->len < n || memcmp(p->s + p->len - n, suffix, n) != 0)
        return false;
    p->len -= n;
    return true;
}

static bool is_hex(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)s[i]) && !(s[i] >= 'a' && s[i] <= 'f'))
            return false;
    return true;
}

static enum spy_runtime runtime_above(struct part parent)
{
    for (size_t i = 0; i < SPY_COUNT(parent_names); i++)
        if (part_is(parent, parent_names[i].name))
            return parent_names[i].runtime;
    return SPY_RUNTIME_UNKNOWN;
}

static bool find_container(struct part p, struct part parent, struct spy_cgroup *c)
{
    part_strip_end(&p, ".scope");
    for (size_t i = 0; i < SPY_COUNT(container_names); i++) {
        struct part id = p;
        if (!part_strip(&id, container_names[i].prefix) || id.len != ID_LEN ||
            !is_hex(id.s, id.len))
            continue;
        memcpy(c->container_id, id.s, ID_LEN);
        c->container_id[ID_LEN] = 0;
        c->runtime = container_names[i].runtime;
        if (c->runtime == SPY_RUNTIME_UNKNOWN)
            c->runtime = runtime_above(parent);
        return true;
    }
    return false;
}

// 8-4-4-4-12 hex digits with '-' or, in the names of slices, '_' between; or 32 hex digits.
static bool is_pod_uid(struct part p)
{
    if (p.len == STATIC_UID_LEN)
        return is_hex(p.s, p.len);
    if (p.len != UID_LEN)
        return false;
    for (size_t i = 0; i < UID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? p.s[i] != '-' && p.s[i] != '_' : !is_hex(p.s + i, 1))
            return false;
    }
    return true;
}

// "podUID" of the cgroupfs driver; "kubepods-podUID.slice" and "kubepods-burstable-podUID.slice" of
// systemd's, after "kubelet-" on nodes that are containers themselves.
static bool find_pod(struct part p, struct spy_cgroup *c)
{
    static const char *const prefixes[] = {"kubelet-", "kubepods-", "burstable-", "besteffort-"};
    if (part_strip_end(&p, ".slice"))
        for (size_t i = 0; i < SPY_COUNT(prefixes); i++)
            part_strip(&p, prefixes[i]);
    if (!part_strip(&p, "pod") || !is_pod_uid(p))
        return false;
    for (size_t i = 0; i < p.len; i++)
        c->pod_uid[i] = p.s[i] == '_' ? '-' : p.s[i];
    c->pod_uid[p.len] = 0;
    return true;
}

// Under the cgroupfs driver, a containerd that gets a systemd path makes a single name of
// "SLICE:RUNTIME:ID".
static bool find_both(struct part p, struct spy_cgroup *c)
{
    const char *colon = memchr(p.s, ':', p.len);
    if (!colon)
        return false;
    struct part slice = {p.s, (size_t)(colon - p.s)};
    struct part rest = {colon + 1, p.len - slice.len - 1};
    bool pod = find_pod(slice, c);
    return find_container(rest, slice, c) || pod;
}

// True when a container or a pod was found.
static bool parse_path(const char *path, size_t len, struct spy_cgroup *ret)
{
    struct spy_cgroup c = {0};
    struct part parent = {"", 0};
    for (const char *p = path, *end = path + len; p < end;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        struct part part = {p, (size_t)((slash ? slash : end) - p)};
        p += part.len + (slash != NULL);
        if (!part.len)
            continue;
        struct spy_cgroup pod = {0};
        if (find_pod(part, &pod) || find_both(part, &pod))
            c = pod; // what is above a pod is the node, if that is a container itself
        else if (!*c.container_id)
            find_container(part, parent, &c);
        parent = part;
    }
    if (!*c.container_id && !*c.pod_uid)
        return false;
    *ret = c;
    return true;
}

const char *spy_cgroup_next_path(const char **at, const char *end, size_t *ret_len)
{
    while (*at < end) {
        const char *line = *at, *eol = memchr(line, '\n', (size_t)(end - line));
        eol = eol ? eol : end;
        *at = eol < end ? eol + 1 : end;
        const char *a = memchr(line, ':', (size_t)(eol - line));
        const char *b = a ? memchr(a + 1, ':', (size_t)(eol - a - 1)) : NULL;
        if (b && b + 1 < eol && b[1] == '/') {
            *ret_len = (size_t)(eol - b - 1);
            return b + 1;
        }
    }
    return NULL;
}

void spy_cgroup_parse(const char *text, size_t len, struct spy_cgroup *ret)
{
    *ret = (struct spy_cgroup){0};
    struct spy_cgroup c;
    size_t n;
    const char *path;
    for (const char *at = text, *end = text + len; (path = spy_cgroup_next_path(&at, end, &n));) {
        if (!parse_path(path, n, &c))
            continue;
        if (*c.container_id) {
            *ret = c;
            return;
        }
        *ret = c; // a pod without a container: perhaps another line says more
    }
}

const char *spy_runtime_name(enum spy_runtime runtime)
{
    static const char *const names[] = {"", "unknown", "docker", "containerd", "cri-o", "podman"};
    return (size_t)runtime < SPY_COUNT(names) ? names[runtime] : "";
}
