"""What the program that is sampled notices of it: nothing of its signals, nothing when podspy is killed."""

import ctypes
import os
import random
import select
import signal
import statistics
import struct
import subprocess
import time

import pytest

import machine
import pythons
import targets

HERE = os.path.dirname(__file__)
SUPPORTED = [p for p in pythons.three() if p.minor >= (3, 6)]  # of the program's time.monotonic
SANITIZED = bool(os.environ.get("PODSPY_SANITIZE"))
if SANITIZED:
    SUPPORTED = SUPPORTED[-1:]
each = pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
each_mode = pytest.mark.parametrize("flags", [[], ["--blocking"]], ids=lambda f: "".join(f) or "default")
SIGNALS = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGRTMIN]
ANSWER = struct.Struct("=id")
LIBC = ctypes.CDLL(None, use_errno=True)


def threads_of(pid):
    """{tid: (state, tracer)}"""
    found = {}
    for tid in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, tid), encoding="utf-8", errors="replace") as f:
            fields = dict(line.split(":", 1) for line in f.read().splitlines() if ":" in line)
        found[int(tid)] = fields["State"].split()[0], int(fields["TracerPid"])
    return found


def sampling(podspy, pid, flags, out, rate=1000):
    argv = [podspy, "record", "-p", str(pid), "-r", str(rate), "-d", "100", "-f", "raw", "-o", str(out), *flags]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def send(target, number):
    """To the main thread itself. A signal to the process goes to any of its threads, never to a stopped one, and with CPython 3.9
    and 3.10 the main thread may then notice late."""
    assert LIBC.tgkill(target.pid, target.pid, int(number)) == 0, os.strerror(ctypes.get_errno())


def latencies(target, n):
    """Seconds from sending a signal to its handler, of n signals; each comes, once, as what was sent."""
    took = []
    for i in range(n):
        number = SIGNALS[i % len(SIGNALS)]
        sent = time.monotonic()
        send(target, number)
        assert select.select([target.process.stdout], [], [], 20)[0], "signal %d did not come" % number
        got, at = ANSWER.unpack(os.read(target.process.stdout.fileno(), ANSWER.size))
        assert got == number
        took.append(at - sent)
        time.sleep(0.0005 * random.random())
    assert not select.select([target.process.stdout], [], [], 0.05)[0], "a signal came twice"
    return took


@each_mode
@each
def test_pauses_neither_lose_nor_delay_signals(python, flags, podspy, tmp_path):
    """A thread that podspy kept seized would stop at each signal, until podspy wakes up again: half a period on
    average, where a signal takes some tens of microseconds. The quarter of them that is fastest tells, since
    what else the machine does only makes some slower."""
    def sampled(rate, n):
        p = sampling(podspy, t.pid, flags, tmp_path / "out", rate)
        try:
            assert b"Sampling process" in p.stderr.readline()
            time.sleep(0.2)
            times = latencies(t, n)
            assert p.poll() is None
            return times
        finally:
            p.terminate()
            p.communicate()

    def more():
        return [statistics.quantiles(times, n=4)[0] * 1e6 for times in (latencies(t, 200), sampled(100, 200))]

    with targets.running([python.path, HERE + "/calls.py"]) as t:
        sampled(1000, 400)
        # Of a period of 10000 us the fastest quarter of seized threads would wait for more than 2000.
        machine.measured("us until a signal is handled, alone and sampled", more, lambda us: us[1] < us[0] + 1500)


def stops_while_it_traces(podspy, pid):
    """Stops podspy at random moments until one is met in which a thread is traced; not in each second it is."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        podspy.send_signal(signal.SIGSTOP)
        targets.wait_for(lambda: targets.state_of(podspy.pid) == "T")
        if any(tracer for _, tracer in threads_of(pid).values()):
            return True
        podspy.send_signal(signal.SIGCONT)
        time.sleep(random.random() / 1000)
    return False


@each_mode
@each
def test_a_killed_podspy_leaves_no_thread_stopped_or_traced(python, flags, podspy, tmp_path):
    kills, met = (4 if SANITIZED else 8), 0
    with targets.running([python.path, HERE + "/calls.py"]) as t:
        for _ in range(kills):
            p = sampling(podspy, t.pid, flags, tmp_path / "out")
            time.sleep(0.3 + random.random() / 5)
            met += stops_while_it_traces(p, t.pid)
            p.kill()
            p.communicate()
            targets.wait_for(lambda: all(state not in "tT" and not tracer
                                         for state, tracer in threads_of(t.pid).values()))
        assert len(latencies(t, 20)) == 20  # it works and answers
    print("%s %s: killed %d times while a thread was traced, of %d" % (python.id, flags, met, kills))
