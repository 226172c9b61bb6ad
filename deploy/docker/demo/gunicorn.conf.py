"""How the demo is served: two worker processes, each with the application loaded for itself."""

import os

bind = os.environ.get("DEMO_BIND", "0.0.0.0:8000")
workers = 2
worker_tmp_dir = "/dev/shm"  # the root file system may be read-only
control_socket_disable = True  # newer gunicorn would write one
proc_name = "demo"
loglevel = "warning"
