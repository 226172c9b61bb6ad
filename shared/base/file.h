// file.h - small files, whole, with a bound. Any thread.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include <stddef.h>
#include <sys/types.h>

// Appends the whole of path (relative to dirfd, or AT_FDCWD) to out. SPY_ERR_LIMIT past out->max.
// Works on /proc files, whose size is not known beforehand.
int spy_file_read(int dirfd, const char *path, struct spy_buf *out, struct spy_err *err);

// Reads at most size - 1 bytes into out and ends them with a NUL; longer files are cut. Returns the
// length or a negative code. For /proc files of known shape: no allocation, three syscalls.
ssize_t spy_file_read_small(int dirfd, const char *path, char *out, size_t size);

// Writes path so that a reader sees the old bytes or the new ones and never a part: a temporary
// file beside it, fsync, rename, fsync of the folder.
int spy_file_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
                          struct spy_err *err);

// Writes all of data; a signal does not cut it short. 0, or -1 with errno.
int spy_file_write_all(int fd, const void *data, size_t len);

// mkdir -p with mode for the folders it makes.
int spy_file_mkdirs(const char *path, mode_t mode, struct spy_err *err);
// Opens for reading what an O_PATH descriptor stands for, if it is a regular file: nothing else is
// ever opened, since to open a device can already do something. Returns a descriptor, or a negative
// code (SPY_ERR_INVALID: not a regular file). Needs /proc.
int spy_file_open_regular(int path_fd);
