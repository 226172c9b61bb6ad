"""What the machine that the tests run on allows, and how to measure on a busy one.

Each why_ function says why not, for pytest.skip, or None.
"""

import functools
import os
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


def measured(what, measure, is_good, tries=3):
    """The first figure of measure() that is_good(figure), of so many; fails where none is.

    Only for what the scheduler decides beside podspy: a share of the CPU, a gap, lateness. Other programs can take the
    CPU for seconds, so that one try proves nothing; a fault of podspy's shows in each. What must hold on any machine (no
    impossible stack, no lost sample) is asserted inside of measure(), whose failure is never repeated. Each try is
    printed; tests/conftest.py and tests/closing.py name the tests that took more than one.
    """
    tried = []
    for n in range(1, tries + 1):
        tried.append(measure())
        print("measured (%d of %d) %s: %s, load %.1f" % (n, tries, what, tried[-1], os.getloadavg()[0]))
        if is_good(tried[-1]):
            return tried[-1]
    raise AssertionError("%s, in each try: %s" % (what, tried))
