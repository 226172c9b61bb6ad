// memory.h - bytes of another process, by process_vm_readv or, where a seccomp filter forbids that
// call to podspy (Docker's default before 23, without CAP_SYS_PTRACE), through /proc/PID/mem. The
// kernel asks the same permission for both: ptrace(2), PTRACE_MODE_ATTACH.
#pragma once
#include <sys/types.h>
#include <sys/uio.h>

// As process_vm_readv(2): the bytes read, from the first piece on, or -1 and errno; EFAULT where
// nothing is mapped. *mem_fd is -1 at first; where the call is forbidden it is the open file of the
// process from then on, for the caller to close. proc_fd is of /proc/PID, and tid one of its
// threads. Costs a call for all pieces, through the file one for each.
ssize_t spy_memory_read(pid_t tid, int proc_fd, int *mem_fd, const struct iovec *local,
                        const struct iovec *remote, size_t n);
