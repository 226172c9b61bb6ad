"""A short round of tests/bench/soak.py, which is run for longer by hand."""

import os
import sys

import targets

KILLS = 6 if os.environ.get("PODSPY_SANITIZE") else 20


def test_no_kill_of_a_recording_with_children_and_native_frames_stops_a_thread(build_dir, repo_dir):
    done = targets.run([sys.executable, repo_dir / "tests" / "bench" / "soak.py", "--build", build_dir, "--minutes", "0",
                        "--kills", str(KILLS), "--workers", "2", "--most", "0.4"], seconds=600)
    print(done.stdout.decode(), end="")
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert b"%d SIGKILLs" % KILLS in done.stdout
