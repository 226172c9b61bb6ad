"""How the demo is served: two worker processes, each with the application loaded for itself."""

import os

bind = os.environ.get("DEMO_BIND", "0.0.0.0:8000")
workers = 2
# The root file system may be read-only.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
loglevel = "warning"
