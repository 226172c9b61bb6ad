"""What a program looks at of other processes, read from what strace wrote (strace -f -y -s 4096)."""

import re

# What every user of a machine may read of a process; "" is /proc/PID itself.
WORLD_READABLE = {"", "stat", "status", "cmdline", "comm", "cgroup"}
# Whatever takes a path or a process.
TRACED = ("open,openat,openat2,readlink,readlinkat,stat,lstat,newfstatat,statx,access,faccessat,"
          "faccessat2,getxattr,lgetxattr,chdir,fchdir,process_vm_readv,process_vm_writev,ptrace,"
          "kcmp,pidfd_open,pidfd_getfd,process_madvise,perf_event_open,setns,tkill,tgkill,kill,execve")
_BY_PID = re.compile(r"\b(process_vm_readv|process_vm_writev|ptrace|kcmp|pidfd_open|perf_event_open|"
                     r"tkill|tgkill|kill)\((?:PTRACE_\w+, )?(\d+)")
_PATH = re.compile(r'(?:(\d+|AT_FDCWD)(?:<([^>]*)>)?, )?"([^"]*)"')


def _paths(line):
    """Every path that a line of strace names; relative ones are joined to their folder."""
    for _, folder, name in _PATH.findall(line):
        if name.startswith("/"):
            yield name
        elif folder:
            yield f"{folder}/{name}" if name else folder
        # else: relative to the working folder


def looks(trace):
    """(pid, what) of each look at a process: what is the rest of the path, or a system call."""
    for line in trace.splitlines():
        call = _BY_PID.search(line)
        if call:
            yield int(call[2]), call[1]
        for path in _paths(line):
            m = re.match(r"/proc/(\d+)(?:/(.*))?$", path)
            if m:
                # What a thread's folder shows is as readable as the same of its process.
                yield int(m[1]), re.sub(r"^task(/\d+)?(/|$)", "", (m[2] or "").strip("/"))
