#include "shared/base/file_id.h"
#include <stddef.h>
#include <sys/stat.h>

struct spy_file_id spy_file_id_of(const char *path)
{
    struct stat st;
    if (!path || stat(path, &st) < 0)
        return (struct spy_file_id){0};
    return (struct spy_file_id){.dev = st.st_dev,
                                .ino = st.st_ino,
                                .size = st.st_size,
                                .mtime = st.st_mtim,
                                .ctime = st.st_ctim};
}

bool spy_file_id_is_none(const struct spy_file_id *id)
{
    return spy_file_id_equal(id, &(struct spy_file_id){0});
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool spy_file_id_equal(const struct spy_file_id *a, const struct spy_file_id *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           is_same_time(a->mtime, b->mtime) && is_same_time(a->ctime, b->ctime);
}
