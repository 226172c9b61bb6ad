#include "agent/sampler/limits.h"
#include "shared/base/file.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CGROUP_BYTES = 8192, MOUNTINFO_BYTES = 1 << 20, STAT_BYTES = 4096, FOLDERS_MAX = 1 << 16 };

// A mount that gives access to cgroups; point "": there is none.
struct way {
    char root[SPY_LIMITS_PATH], point[SPY_LIMITS_PATH], own[SPY_LIMITS_PATH];
};

struct spy_limits {
    bool looked[2];
    struct way ways[2][2]; // for v1 and v2: our mount, and that of process 1
};

struct spy_limits *spy_limits_new(void)
{
    return calloc(1, sizeof(struct spy_limits));
}

void spy_limits_free(struct spy_limits *l)
{
    free(l);
}

// --- /proc/PID/cgroup ---

static bool has_word(const char *list, size_t len, const char *word)
{
    size_t n = strlen(word);
    for (const char *end = list + len; list < end;) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        size_t part = (size_t)((comma ? comma : end) - list);
        if (part == n && !memcmp(list, word, n))
            return true;
        list += part + 1;
    }
    return false;
}

bool spy_limits_cgroup(const char *text, size_t len, bool *ret_v2, const char **ret_path,
                       size_t *ret_len)
{
    bool found = false;
    for (const char *line = text, *end = text + len, *next; line < end; line = next) {
        const char *eol = memchr(line, '\n', (size_t)(end - line));
        next = eol ? eol + 1 : end;
        eol = eol ? eol : end;
        const char *a = memchr(line, ':', (size_t)(eol - line));
        const char *b = a ? memchr(a + 1, ':', (size_t)(eol - a - 1)) : NULL;
        if (!b || b + 1 >= eol || b[1] != '/')
            continue;
        bool v1 = has_word(a + 1, (size_t)(b - a - 1), "cpu");
        bool v2 = a + 1 == b && a == line + 1 && *line == '0';
        if (!v1 && !v2)
            continue;
        found = true;
        *ret_v2 = v2;
        *ret_path = b + 1;
        *ret_len = (size_t)(eol - b - 1);
        if (v1) // a controller that v1 has is not in v2
            return true;
    }
    return found;
}

// --- mountinfo ---

// Decodes a word: characters that would end it are written as \040 and the like
// (proc_pid_mountinfo(5)).
static bool unescape_word(const char *s, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (c == '\\' && i + 3 < len && s[i + 1] >= '0' && s[i + 1] <= '3' && s[i + 2] >= '0' &&
            s[i + 2] <= '7' && s[i + 3] >= '0' && s[i + 3] <= '7') {
            c = (char)((s[i + 1] - '0') << 6 | (s[i + 2] - '0') << 3 | (s[i + 3] - '0'));
            i += 3;
        }
        if (!c || n + 1 >= SPY_LIMITS_PATH)
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    return n > 0 && out[0] == '/';
}

struct words {
    const char *at[16];
    size_t len[16], n;
};

static void split_words(const char *line, const char *eol, struct words *w)
{
    w->n = 0;
    while (line < eol && w->n < SPY_COUNT(w->at)) {
        const char *space = memchr(line, ' ', (size_t)(eol - line));
        w->at[w->n] = line;
        w->len[w->n] = (size_t)((space ? space : eol) - line);
        line += w->len[w->n++] + 1;
    }
}

static bool is_word(const struct words *w, size_t i, const char *text)
{
    return i < w->n && w->len[i] == strlen(text) && !memcmp(w->at[i], text, w->len[i]);
}

// ID PARENT DEV ROOT POINT OPTIONS [OPTIONAL...] - TYPE SOURCE SUPER_OPTIONS
static bool is_hierarchy(const struct words *w, bool v2)
{
    size_t dash = 6;
    while (dash < w->n && !is_word(w, dash, "-"))
        dash++;
    if (v2)
        return is_word(w, dash + 1, "cgroup2");
    return is_word(w, dash + 1, "cgroup") && dash + 3 < w->n &&
           has_word(w->at[dash + 3], w->len[dash + 3], "cpu");
}

bool spy_limits_mount(const char *text, size_t len, bool v2, char *ret_root, char *ret_point)
{
    for (const char *line = text, *end = text + len, *next; line < end; line = next) {
        const char *eol = memchr(line, '\n', (size_t)(end - line));
        next = eol ? eol + 1 : end;
        struct words w;
        split_words(line, eol ? eol : end, &w);
        if (w.n > 6 && is_hierarchy(&w, v2) && unescape_word(w.at[3], w.len[3], ret_root) &&
            unescape_word(w.at[4], w.len[4], ret_point))
            return true;
    }
    return false;
}

// --- paths ---

// Counts the "/.." that a path begins with; *rest is what follows, "" or "/name...".
static size_t count_ups(const char *path, size_t len, size_t *ret_rest)
{
    size_t n = 0, at = 0;
    while (len - at >= 3 && !memcmp(path + at, "/..", 3) &&
           (len - at == 3 || path[at + 3] == '/')) {
        at += 3;
        n++;
    }
    *ret_rest = at;
    return n;
}

static bool is_plain(const char *path, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!path[i] || (path[i] == '/' && len - i >= 3 && path[i + 1] == '.' &&
                         path[i + 2] == '.' && (len - i == 3 || path[i + 3] == '/')))
            return false;
    return true;
}

// The length of the first n names of a path, or of all.
static size_t first_names(const char *path, size_t n)
{
    size_t at = 0;
    while (path[at] && (path[at] != '/' || n--))
        at++;
    return at;
}

bool spy_limits_below(const char *root, const char *own, const char *path, size_t len, char *ret)
{
    size_t root_len = strlen(root), rest, root_rest;
    size_t ups = count_ups(path, len, &rest), root_ups = count_ups(root, root_len, &root_rest);
    const char *tail = path + rest;
    size_t n_tail = len - rest, n_own = 0;
    if (n_tail == 1) // "/"
        n_tail = 0;
    if (root_len - root_rest <= 1) // the root itself, or that many levels above our "/"
        root_len = root_rest;
    if (root_ups > ups) {
        n_own = first_names(own, root_ups - ups);
        if (root_len != root_rest || !*own)
            return false;
    } else if (root_ups < ups) {
        return false;
    } else if (root_len > root_rest) { // a part of the hierarchy is mounted
        size_t n = root_len - root_rest;
        if (n_tail < n || memcmp(tail, root + root_rest, n) != 0 || (n_tail > n && tail[n] != '/'))
            return false;
        tail += n;
        n_tail -= n;
    }
    if (!is_plain(tail, n_tail) || n_own + n_tail + 1 > SPY_LIMITS_PATH)
        return false;
    memcpy(ret, own, n_own);
    memcpy(ret + n_own, tail, n_tail);
    ret[n_own + n_tail] = 0;
    return true;
}

// --- finding the mounts ---

static bool read_mounts(const char *file, const char *below, bool v2, struct way *ret)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(MOUNTINFO_BYTES);
    char point[SPY_LIMITS_PATH];
    if (spy_file_read(AT_FDCWD, file, &text, NULL) < 0 ||
        !spy_limits_mount(spy_buf_str(&text), text.len, v2, ret->root, point) ||
        snprintf(ret->point, sizeof ret->point, "%s%s", below, strcmp(point, "/") ? point : "") >=
            (int)sizeof ret->point) {
        ret->point[0] = 0;
        return false;
    }
    return true;
}

struct search {
    dev_t dev;
    ino_t ino;
    size_t left; // folders that may still be visited
    char *path;  // of the current folder, below the mount; SPY_LIMITS_PATH bytes
};

// Visits the folders `depth` levels below dirfd, depth first. Cgroups come and go meanwhile.
static bool find_inode(struct search *s, int dirfd, size_t depth)
{
    size_t len = strlen(s->path);
    struct stat st;
    if (!depth)
        return fstat(dirfd, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino;
    int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir) {
        spy_cleanup_close(&copy);
        return false;
    }
    for (struct dirent *e; (e = readdir(dir)) && s->left;) {
        size_t n = strlen(e->d_name);
        if (e->d_type != DT_DIR || e->d_name[0] == '.' || len + n + 2 > SPY_LIMITS_PATH)
            continue;
        s->left--;
        _cleanup_close_ int sub =
            openat(copy, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0)
            continue;
        s->path[len] = '/';
        memcpy(s->path + len + 1, e->d_name, n + 1);
        if (find_inode(s, sub, depth - 1))
            return true;
        s->path[len] = 0;
    }
    return false;
}

// What our namespace calls "/" is the root of our own mount.
static void find_own(const struct way *ours, struct way *nodes)
{
    size_t rest, depth = count_ups(nodes->root, strlen(nodes->root), &rest);
    struct stat st;
    if (!depth || depth > SPY_LIMITS_LEVELS || nodes->root[rest] || strcmp(ours->root, "/") != 0 ||
        !*ours->point || stat(ours->point, &st) < 0)
        return;
    _cleanup_close_ int fd = open(nodes->point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct search s = {.dev = st.st_dev, .ino = st.st_ino, .left = FOLDERS_MAX, .path = nodes->own};
    if (fd < 0 || !find_inode(&s, fd, depth))
        nodes->own[0] = 0;
}

// Process 1 is not opted in: its mounts are read only if ours do not show the cgroup, as in a
// container.
static void find_way(struct spy_limits *l, size_t whose)
{
    for (int v2 = 0; v2 < 2 && !l->looked[whose]; v2++) {
        struct way *ours = &l->ways[v2][0], *nodes = &l->ways[v2][1];
        if (!whose)
            read_mounts("/proc/self/mountinfo", "", v2, ours);
        else if (read_mounts("/proc/1/mountinfo", "/proc/1/root", v2, nodes))
            find_own(ours, nodes);
    }
    l->looked[whose] = true;
}

// --- reading ---

static uint64_t number_after(const char *text, const char *key, bool *ret_there)
{
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, key, n) && line[n] == ' ') {
            *ret_there = true;
            return strtoull(line + n, NULL, 10);
        }
    }
    *ret_there = false;
    return 0;
}

bool spy_limits_stat(const char *text, struct spy_throttle *ret)
{
    bool counts, v2, v1;
    uint64_t periods = number_after(text, "nr_throttled", &counts);
    uint64_t us = number_after(text, "throttled_usec", &v2);
    uint64_t ns = number_after(text, "throttled_time", &v1);
    if (!counts || (!v1 && !v2))
        return false;
    if (v2 && __builtin_mul_overflow(us, 1000u, &ns))
        ns = UINT64_MAX;
    *ret = (struct spy_throttle){.ns = ns, .periods = periods};
    return true;
}

static bool read_level(const char *point, const char *path, struct spy_throttle *ret)
{
    char file[2 * SPY_LIMITS_PATH + 16], text[STAT_BYTES];
    snprintf(file, sizeof file, "%s%s/cpu.stat", point, path);
    *ret = (struct spy_throttle){0};
    if (spy_file_read_small(AT_FDCWD, file, text, sizeof text) < 0)
        return false;
    spy_limits_stat(text, ret); // if it has none, no limit can be set at this level
    return true;
}

// The cgroup itself must be readable; the first level above it that is not ends the list.
static void read_levels(const struct way *w, char *path, struct spy_limits_reading *ret)
{
    uint64_t hash = spy_hash_bytes(path, strlen(path));
    while (ret->n < SPY_LIMITS_LEVELS && read_level(w->point, path, &ret->levels[ret->n])) {
        ret->n++;
        char *slash = strrchr(path, '/');
        if (!slash)
            break;
        *slash = 0;
    }
    if (ret->n)
        ret->path = hash ? hash : 1;
}

void spy_limits_read(struct spy_limits *l, int proc_fd, struct spy_limits_reading *ret)
{
    char text[CGROUP_BYTES], below[SPY_LIMITS_PATH];
    *ret = (struct spy_limits_reading){0};
    ssize_t n = l ? spy_file_read_small(proc_fd, "cgroup", text, sizeof text) : -1;
    bool v2;
    const char *path;
    size_t len;
    if (n < 0 || !spy_limits_cgroup(text, (size_t)n, &v2, &path, &len))
        return;
    for (size_t i = 0; i < SPY_COUNT(l->ways[v2]) && !ret->path; i++) {
        find_way(l, i);
        const struct way *w = &l->ways[v2][i];
        if (*w->point && spy_limits_below(w->root, w->own, path, len, below))
            read_levels(w, below, ret);
    }
}

bool spy_limits_growth(const struct spy_limits_reading *from, const struct spy_limits_reading *to,
                       struct spy_throttle *ret)
{
    struct spy_throttle most = {0};
    if (!from->path || from->path != to->path || from->n != to->n)
        return false;
    for (size_t i = 0; i < to->n; i++) {
        const struct spy_throttle *a = &from->levels[i], *b = &to->levels[i];
        if (b->ns < a->ns || b->periods < a->periods)
            return false; // another cgroup with this name
        if (b->ns - a->ns > most.ns || (b->ns == a->ns && b->periods - a->periods > most.periods))
            most = (struct spy_throttle){.ns = b->ns - a->ns, .periods = b->periods - a->periods};
    }
    *ret = most;
    return true;
}
