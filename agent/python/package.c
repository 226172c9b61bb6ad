#include "agent/python/package.h"
#include "agent/target/files.h"
#include "shared/base/buf.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char INIT[] = "/__init__.py";

struct folder {
    uint32_t name, len; // in the names
    uint32_t cut;       // bytes of a file's name that stand above its package
};

struct spy_packages {
    pthread_mutex_t lock;
    struct folder *list;
    size_t n, cap;
    struct spy_buf names;
    struct spy_map map; // hash of a folder's name -> its place in the list
};

struct spy_packages *spy_packages_new(void)
{
    struct spy_packages *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    p->names = SPY_BUF_INIT(SPY_PACKAGES_BYTES_MAX);
    return p;
}

void spy_packages_free(struct spy_packages *p)
{
    if (!p)
        return;
    free(p->list);
    spy_buf_free(&p->names);
    spy_map_free(&p->map);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

// The length of the folder in a file's name: what stands before its last slash. False: the name is
// not the path of a file.
static bool find_folder_part(const char *filename, size_t *ret)
{
    const char *slash = strrchr(filename, '/');
    if (!slash || !slash[1] || filename[0] == '<')
        return false;
    *ret = (size_t)(slash - filename);
    return true;
}

// The bytes to cut from the name of a file in this folder; -1: not known.
static int64_t find_cut(struct spy_packages *p, const char *name, size_t len)
{
    uint64_t hash = spy_hash_bytes(name, len);
    int64_t cut = -1;
    pthread_mutex_lock(&p->lock);
    for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(&p->map, hash, &at)) != SPY_MAP_NONE;)
        if (p->list[i].len == len && !memcmp(p->names.data + p->list[i].name, name, len))
            cut = p->list[i].cut;
    pthread_mutex_unlock(&p->lock);
    return cut;
}

static int keep_folder(struct spy_packages *p, const char *name, size_t len, size_t cut)
{
    struct folder f = {(uint32_t)p->names.len, (uint32_t)len, (uint32_t)cut};
    int r = spy_grow(&p->list, &p->cap, p->n + 1, sizeof *p->list, SPY_PACKAGES_MAX);
    if (r == 0)
        r = spy_buf_append(&p->names, name, len);
    if (r == 0)
        r = spy_map_add(&p->map, spy_hash_bytes(name, len), (uint32_t)p->n);
    if (r == 0)
        p->list[p->n++] = f;
    return r;
}

// How many bytes of the path of a file in this folder are above its package. Negative: a code.
static int count_above(int root, const char *folder, size_t len)
{
    char path[PATH_MAX];
    memcpy(path, folder, len);
    for (int depth = 0; depth < SPY_PACKAGES_DEPTH_MAX && len; depth++) {
        memcpy(path + len, INIT, sizeof INIT);
        int r = spy_target_has_file(root, path);
        if (r < 0)
            return r;
        if (!r)
            break;
        const char *slash = memrchr(path, '/', len);
        if (!slash) // of a relative name
            return 0;
        len = (size_t)(slash - path);
    }
    return (int)len + 1;
}

void spy_packages_look_up(struct spy_packages *p, const struct spy_target *t, const char *filename)
{
    size_t len;
    if (!find_folder_part(filename, &len) || len > PATH_MAX - sizeof INIT ||
        find_cut(p, filename, len) >= 0)
        return;
    _cleanup_close_ int root = spy_target_open_root(t, filename[0] == '/');
    int cut = root < 0 ? root : count_above(root, filename, len);
    if (cut < 0)
        return;
    pthread_mutex_lock(&p->lock);
    keep_folder(p, filename, len, (size_t)cut); // without memory it stays not known
    pthread_mutex_unlock(&p->lock);
}

const char *spy_packages_shorten(const void *packages, const char *filename)
{
    size_t len;
    if (!find_folder_part(filename, &len))
        return filename[0] == '<' || !strchr(filename, '/') ? filename : NULL;
    int64_t cut = find_cut((struct spy_packages *)packages, filename, len);
    return cut < 0 ? NULL : filename + cut;
}
