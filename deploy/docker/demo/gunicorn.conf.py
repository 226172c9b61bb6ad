"""How the demo is served: two worker processes, each with the application loaded for itself."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # prctl(2)

bind = os.environ.get("DEMO_BIND", "0.0.0.0:8000")
workers = 2
# The root file system may be read-only.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
loglevel = "warning"


def post_fork(server, worker):
    """A worker ends with its master, even when the master is killed; else it would notice after 15 s."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
