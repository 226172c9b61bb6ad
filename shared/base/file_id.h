// file_id.h - has a file changed since it was last read? Any thread.
#pragma once
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

// Which file a path named, and its state. All zero: there was no file.
struct spy_file_id {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
};

// path may be NULL, which names no file.
struct spy_file_id spy_file_id_of(const char *path);
bool spy_file_id_is_none(const struct spy_file_id *id);
// A file differs once it was written, replaced, removed or made.
bool spy_file_id_equal(const struct spy_file_id *a, const struct spy_file_id *b);
