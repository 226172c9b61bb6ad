"""What the machine that the tests run on allows. Each function says why not, for pytest.skip, or None."""

import functools
import re
import subprocess

SYS_PTRACE = 19  # linux/capability.h


def _fails(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stderr.strip() or f"{argv[0]} ended with {done.returncode}" if done.returncode else None


@functools.lru_cache(maxsize=None)
def why_no_namespaces(propagation="private"):
    """PID and mount namespaces of root's. In a chroot whose / is not a mount point, none that is private: what is mounted
    in it could be seen outside."""
    why = _fails("unshare", "--pid", "--mount", "--fork", "--propagation", propagation, "true")
    return f"no namespaces can be made here ({why})" if why else None


@functools.lru_cache(maxsize=None)
def why_no_containers():
    """Those of runc, and so of a dockerd. The kernel makes no user namespace for who is in a chroot."""
    if why := why_no_namespaces():
        return why
    if _fails("unshare", "--user", "true"):
        return ("runc works from no chroot: it wants / to be a mount point, and what it executes in a container "
                "gets the machine's root")
    return None


@functools.lru_cache(maxsize=None)
def why_no_foreign_reads():
    """Of processes that another user has, or that have capabilities which the tests lack."""
    with open("/proc/self/status") as f:
        effective = int(re.search(r"^CapEff:\s+(\w+)", f.read(), re.M)[1], 16)
    return None if effective >> SYS_PTRACE & 1 else "no CAP_SYS_PTRACE here: other users' processes cannot be read"
