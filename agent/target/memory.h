// memory.h - reads bytes of another process by process_vm_readv or, if a seccomp filter forbids
// that call to podspy (Docker's default before 23, without CAP_SYS_PTRACE), through /proc/PID/mem.
// The kernel requires the same permission for both: ptrace(2), PTRACE_MODE_ATTACH.
#pragma once
#include <sys/types.h>
#include <sys/uio.h>

// Like process_vm_readv(2): returns the bytes read, from the first piece on, or -1 and errno;
// EFAULT if nothing is mapped. *mem_fd is -1 at first; if the call is forbidden, it becomes the
// open file of the process, which the caller closes. proc_fd is of /proc/PID, and tid one of its
// threads. Costs one call for all pieces, or through the file one call for each.
ssize_t spy_memory_read(pid_t tid, int proc_fd, int *mem_fd, const struct iovec *local,
                        const struct iovec *remote, size_t n);
