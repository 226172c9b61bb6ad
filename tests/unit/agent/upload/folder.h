// folder.h - a folder of a test's own. Inside of the tests of agent/upload.
#pragma once
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
    char path[64];
};

static inline int folder_make(void **state)
{
    struct folder *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    snprintf(f->path, sizeof f->path, "/tmp/podspy-upload-XXXXXX");
    *state = f;
    return mkdtemp(f->path) ? 0 : -1;
}

static inline int folder_remove(void **state)
{
    struct folder *f = *state;
    DIR *d = opendir(f->path);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    rmdir(f->path);
    free(f);
    return 0;
}

// How many names in the folder end so.
static inline size_t folder_count(const struct folder *f, const char *suffix)
{
    size_t n = 0, len = strlen(suffix);
    DIR *d = opendir(f->path);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t l = strlen(e->d_name);
        n += l >= len && !strcmp(e->d_name + l - len, suffix);
    }
    if (d)
        closedir(d);
    return n;
}

static inline const char *folder_path(const struct folder *f, const char *name)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    return path;
}
