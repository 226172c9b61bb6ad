"""How many attempts of --nonblocking give a stack, on a program of short calls: beside py-spy's in the same run,
where that is installed (tests/peers.py)."""

import contextlib
import os
import re
import sys

import pytest

import machine
import peers
import pythons
import targets

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import check  # noqa: E402

SANITIZED = bool(os.environ.get("PODSPY_SANITIZE"))
SUPPORTED = pythons.few() if SANITIZED else pythons.supported()
RECORDED = pythons.supported() if os.environ.get("PODSPY_LONG") else pythons.few()
SECONDS, RATE, POINTS = 2, 250, 3
LOOKED_AT = 60000 if os.environ.get("PODSPY_LONG") else 500 if SANITIZED else 4000
MARKER = ";" + check.CHANGING
FRAME = r"%s \([^;]*short_calls\.py:(%s)\)"
# The stacks that there are, from the outermost frame to the leaf, by the lines that the text has.
LINES = {name: n for n, text in enumerate(open(os.path.join(HERE, "short_calls.py")), 1)
         for name in [text.strip().split("  #")[0]]}


def possible():
    def frame(name, *lines):
        return FRAME % (name, "|".join(str(n) for n in lines))

    start = frame("<module>", LINES["loop()"])
    in_loop = LINES["while True:"]
    ends = [frame("loop", in_loop, LINES["warm_x()"], LINES["warm_y()"])]
    for letter in "xy":
        call, leaf = LINES["warm_%s()" % letter], LINES["return leaf_%s()" % letter]
        first = LINES["def leaf_%s():" % letter]
        warm = frame("loop", call) + ";" + frame("warm_" + letter, leaf - 1, leaf)
        ends += [warm, warm + ";" + frame("leaf_" + letter, first, first + 1)]
    # "ready" is there before the write of it has returned.
    before = frame("<module>", LINES['sys.stdout.write("ready\\n")'], LINES["sys.stdout.flush()"])
    return re.compile("(%s|%s(;(%s))?)(%s)?$" % (before, start, "|".join(ends), re.escape(MARKER)))


def impossible(lines):
    """Stacks that no run of the program has; stacks that wait for the machine are left out."""
    good = possible()
    return [line for line in lines if not good.match(line.rpartition(" ")[0]) and not line.startswith("[no Python")]


def own(podspy, pid, *flags):
    r = targets.run([podspy, "record", *flags, "-p", str(pid), "-r", str(RATE), "-d", str(SECONDS), "-f", "raw", "-o", "-"])
    assert r.returncode == 0, r.stderr
    samples, errors = (int(n) for n in re.search(rb"Samples: (\d+) Errors: (\d+)", r.stderr).groups())
    return r.stdout.decode().splitlines(), samples, errors


def peer_yield(target):
    try:
        taken = peers.run(peers.PySpyNonblocking(None), target, SECONDS, RATE)
    except peers.Skip as why:
        return "py-spy: %s" % why
    return "py-spy %d samples, %s %% failed" % (sum(check.parse(line)[1] for line in taken.lines), taken.errors)


def share(lines, word):
    """Per cent of the samples that have the word in their stack, and their number."""
    counts = [(int(line.rpartition(" ")[2]), word in line) for line in lines]
    total = max(sum(n for n, _ in counts), 1)
    return 100 * sum(n for n, has in counts if has) / total, total


def chance(n, m):
    """Four standard errors, in points, of the difference of two shares near a half of n and of m samples."""
    return 4 * 50 * (1 / n + 1 / m) ** 0.5


@pytest.mark.parametrize("python", RECORDED, ids=pythons.id_of)
def test_nine_of_ten_nonblocking_attempts_give_a_stack(python, podspy, yields, tmp_path):
    def faults():
        """The shares that are not what they have to be: who else has the CPU may change them."""
        lines, samples, errors = own(podspy, t.pid, "--nonblocking")
        paused, _, _ = own(podspy, t.pid, "--blocking")
        part, n = share(lines, MARKER)
        yields("  %-16s %d samples, %d failed, %.0f %% of them only in part; %s" % (
            python.id, samples, errors, part, peer_yield(peers.Target(t.pid, tmp_path, bool(python.root)))))
        assert impossible(lines) == [] and impossible(paused) == []
        found = []
        if samples < RATE / 5 or errors > (samples + errors) / 10:
            found.append((samples, errors))
        # Half of the time belongs to each: so it is in what is shown whole.
        for way in "xy":
            (shown, _), (true, m) = share(lines, "warm_" + way), share(paused, "warm_" + way)
            off = POINTS + chance(n, m)
            if not shown - off <= true <= shown + part + off:
                found.append((way, shown, true, part, n, m))
        # A partial stack may end above loop (on a slow machine one in twenty does); a whole one does not.
        whole = [line for line in lines if MARKER not in line and not line.startswith("[no Python")]
        if share(lines, "loop (")[0] <= 85 or share(whole, "loop (")[0] <= 97:
            found.append((share(lines, "loop ("), share(whole, "loop (")))
        return found

    with targets.running(python.argv(HERE + "/short_calls.py")) as t:
        machine.measured("wrong shares", faults, lambda found: found == [])


def looked_at(program, pid, mode, folder):
    """The raw lines of LOOKED_AT samples in that mode, read from another CPU."""
    r = targets.run([program("truth_sampler"), str(pid), str(LOOKED_AT), "50", "%s=%s" % (mode, folder / mode)], seconds=900)
    assert r.returncode == 0, r.stderr
    lines = (folder / mode).read_text().splitlines()
    assert sum(check.parse(line)[1] for line in lines) >= LOOKED_AT
    return lines


@pytest.mark.parametrize("python", SUPPORTED, ids=pythons.id_of)
def test_reads_in_step_with_the_program_prove_nothing(python, program, tmp_path):
    """The program goes round in about the time of a read, and is read from the other CPU: it may be twice at the same
    frames, and elsewhere in between. One in 1000 stacks was wrong (3.10: salvage by 12 looks; up to 3.12: whole ones)."""
    with targets.running(python.argv(HERE + "/short_calls.py")) as t:
        assert impossible(looked_at(program, t.pid, "never", tmp_path)) == []


@contextlib.contextmanager
def traced(pid):
    """Holds the process by another tracer, so that podspy cannot pause it."""
    seize = ("import ctypes, sys, time; libc = ctypes.CDLL(None, use_errno=True); pid = ctypes.c_long(int(sys.argv[1])); "
             "print(libc.ptrace(ctypes.c_long(0x4206), pid, None, None), flush=True); time.sleep(900)")
    with targets.running([sys.executable, "-c", seize, str(pid)], wait_line=False) as tracer:
        assert tracer.read_line() == 0
        yield


@pytest.mark.parametrize("python", pythons.few(), ids=pythons.id_of)
def test_nothing_unproven_is_shown_where_a_pause_is_refused(python, program, tmp_path):
    """The default mode must not fall back to reads that --nonblocking would not trust."""
    with targets.running(python.argv(HERE + "/short_calls.py")) as t, traced(t.pid):
        assert impossible(looked_at(program, t.pid, "may", tmp_path)) == []


def test_the_checker_finds_a_wrong_stack():
    good = "<module> (a/short_calls.py:%d);loop (a/short_calls.py:%d);warm_x (a/short_calls.py:%d) 3" % (
        LINES["loop()"], LINES["warm_x()"], LINES["return leaf_x()"])
    assert impossible([good, good.replace(" 3", MARKER + " 3")]) == []
    assert impossible([good.replace(":%d);warm" % LINES["warm_x()"], ":%d);warm" % LINES["warm_y()"])])
    assert impossible([good.replace("warm_x", "leaf_x")]) and impossible([good.partition(";")[2]])
