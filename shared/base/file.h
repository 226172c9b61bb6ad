// file.h - reads and writes whole small files, with a bound. Any thread.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include <stddef.h>
#include <sys/types.h>

// Appends the whole of path (relative to dirfd, or AT_FDCWD) to out. SPY_ERR_LIMIT past out->max.
// Works for /proc files, whose size is not known beforehand.
int spy_file_read(int dirfd, const char *path, struct spy_buf *out, struct spy_err *err);

// Reads at most size - 1 bytes into out and adds a NUL; longer files are cut. Returns the length or a
// negative code. For /proc files of known form: no allocation, three system calls.
ssize_t spy_file_read_small(int dirfd, const char *path, char *out, size_t size);

// Replaces path atomically, so that a reader sees the old bytes or the new: writes a temporary file
// beside it, fsync, rename, fsync of the folder.
int spy_file_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
                          struct spy_err *err);

// Writes all of data; a signal does not cut it short. 0, or -1 with errno.
int spy_file_write_all(int fd, const void *data, size_t len);

// mkdir -p with mode for the folders it makes.
int spy_file_mkdirs(const char *path, mode_t mode, struct spy_err *err);
// What lies at path inside of the folder root, as a descriptor that names it (O_PATH): root is the
// root of absolute paths and links, and neither they nor ".." lead out of it (openat2(2)). -1 with
// errno.
int spy_file_open_below(int root, const char *path);
// Opens the file of an O_PATH descriptor for reading if it is a regular file, and nothing else, as
// opening a device can have effects. Returns a descriptor or a negative code (SPY_ERR_INVALID: not a
// regular file). Needs /proc.
int spy_file_open_regular(int path_fd);
