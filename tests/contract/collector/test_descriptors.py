"""A collector that was started with descriptors 0 to 2 closed keeps its files to itself."""

import os
import subprocess
import time

import pytest
from collector import usual_batch


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone sees the descriptors of a process that is not dumpable")
@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "2>&-", "<&- >&-"])
def test_no_log_line_lands_in_a_file_of_the_store(closed, podspy_collector, tmp_path):
    data = tmp_path / "data"
    run = 'exec "$@" ' + closed
    p = subprocess.Popen(["bash", "-c", run, "-", podspy_collector, "--data", data, "--listen", "127.0.0.1:0",
                          "--listen-http", "127.0.0.1:0", "--log-level", "debug"], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while not (data / "read.token").exists():
            assert p.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        time.sleep(0.5)
        held = {os.readlink(f"/proc/{p.pid}/fd/{fd}") for fd in range(3)}
        assert not any(str(data) in path for path in held), held
    finally:
        p.terminate()
        code = p.wait(timeout=30)
    assert code == 0
    for path in data.rglob("*"):
        if path.is_file():
            assert b"level=" not in path.read_bytes(), path


def test_an_empty_answer_names_the_parameters_that_show_samples(collector):
    batch = usual_batch()
    assert collector.push(batch.bytes()).status_code == 200
    for query, words in (("pod=demo&thread=MainThread&include=wait_for_io", "idle=1 shows them."),
                         ("pod=demo&thread=MainThread&include=wait_for_io&gil=1", "gil=0&amp;idle=1 shows them.")):
        svg = collector.get("/profiles?format=svg&" + query).text
        assert "No samples to show: every thread was waiting in each of the 400 taken; " + words in svg


def test_answers_in_speedscope_say_that_they_are_merged(collector):
    assert collector.push(usual_batch().bytes()).status_code == 200
    scope = collector.get("/profiles?format=speedscope&pod=demo").json()
    assert scope["name"].endswith(" (samples are merged: Time Order is not their order in time)")
    assert scope["profiles"] and all(p["name"].endswith(" (merged: no Time Order)") for p in scope["profiles"])
