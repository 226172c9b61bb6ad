"""record -n of extension modules in C, C++, Rust, Cython and of numpy, at shares that the program itself has counted."""

import os
import re
import shutil
import subprocess

import pytest

import machine
import pythons
import targets

SANITIZED = bool(os.environ.get("PODSPY_SANITIZE"))
DEBIAN = [p for p in pythons.supported() if p.id.startswith("debian")]
FRAME = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*)\)$")


def names_of(stack):
    return [m["name"].rpartition(".")[2] if ".py:" in m["file"] else m["name"] for m in map(FRAME.match, stack) if m]


def ask(target):
    target.process.stdin.write(b"\n")
    target.process.stdin.flush()
    return target.read_line()


def record(podspy, argv):
    """(stacks, what the shares should be, samples that could not be merged though their thread was held, samples with
    native frames)"""
    with targets.running(argv, stdin=subprocess.PIPE) as t:
        before = ask(t)
        done = targets.run([podspy, "record", "-n", "-p", str(t.pid), "-d", "2", "-r", "500", "-f", "raw", "-o", "-"])
        after = ask(t)
    assert done.returncode == 0, done.stderr
    spent = [b - a for a, b in zip(before, after)]
    lines = [line.rpartition(" ") for line in done.stdout.decode().splitlines()]
    failed, of = map(int, re.search(rb"Native frames: (\d+) of (\d+)", done.stderr).groups())
    not_held = re.search(rb"(\d+) of them because the thread did not stop in time", done.stderr)
    failed -= int(not_held[1]) if not_held else 0
    return [(stack.split(";"), int(n)) for stack, _, n in lines], [s / sum(spent) for s in spent], failed, of


def are_in_order(names, wanted):
    rest = iter(names)
    return all(any(re.search(w, name) for name in rest) for w in wanted)


def largest_error(stacks, spent, work, direct):
    """In points, beyond what chance gives in one of twenty recordings."""
    total = sum(n for _, n in stacks)
    errors = []
    for wanted, share in zip((["^work$", *work], ["^direct$", *direct], ["^interpret$"]), spent):
        seen = sum(n for s, n in stacks if are_in_order(names_of(s), wanted)) / total
        errors.append(100 * (abs(seen - share) - 2 * (share * (1 - share) / total) ** 0.5))
        print("%.1f %% of %.1f %%" % (100 * seen, 100 * share), end="; ")
    return max(errors)


def check(podspy, argv, work, direct, somewhere="."):
    """work, direct: patterns of names from the outermost on, which such a stack has in this order. somewhere: of a name
    that some stack has.

    Measured: on a busy machine few samples are taken, and shares are of those whose thread could be held in time.
    """
    def measure():
        stacks, spent, failed, of = record(podspy, argv)
        assert of < 100 or any(re.search(somewhere, n) for stack, _ in stacks for n in names_of(stack)), stacks
        return of, failed, largest_error(stacks, spent, work, direct)

    machine.measured("samples, not merged, error in points", measure,
                     lambda seen: SANITIZED or seen[0] >= 100 and seen[1] <= max(1, seen[0] / 100) and seen[2] < 2)


def test_a_c_extension(podspy, workload, python):
    check(podspy, workload(python, "burn_c"),
          work=["^call_back$", "^leaf$", "^spin_leaf$", "^burn_leaf"], direct=["^spin_direct$", "^burn_direct"])


@pytest.mark.parametrize("python", DEBIAN, ids=pythons.id_of)
def test_cpp_with_exceptions_in_flight(podspy, workload, python):
    check(podspy, workload(python, "burn_cpp"),
          work=["^call_back", "^leaf$", r"^shapes::Spinner<long>::spin_leaf\(long\)"],
          direct=[r"^shapes::Spinner<long>::spin_direct\(long\)"])


@pytest.mark.parametrize("manner", ["legacy", "v0"])
@pytest.mark.parametrize("python", DEBIAN, ids=pythons.id_of)
def test_rust_with_names_of_both_manners_and_inlined_calls(podspy, workload, python, manner):
    if not shutil.which("rustc"):
        pytest.skip("no rustc here")
    spinner = "<burn_rust::shapes::Spinner<u64> as burn_rust::shapes::Spin>::"
    check(podspy, workload(python, "burn_rust", manner),
          work=["^call_back$", "^rust_call_back$", "^burn_rust::call_through", "^leaf$", "^rust_leaf$",
                "^%sburn_leaf$" % re.escape(spinner)],
          direct=["^rust_direct$", "^%sburn_direct$" % re.escape(spinner)],
          somewhere=r"^<?burn_rust::shapes::Spinner<u64>>?::mix_inline$")


@pytest.mark.parametrize("python", DEBIAN, ids=pythons.id_of)
def test_cython(podspy, workload, python):
    check(podspy, workload(python, "burn_cython"),
          work=["^call_back$", "^leaf$", "^spin_leaf$"], direct=["^spin_direct$"])


@pytest.mark.parametrize("python", DEBIAN, ids=pythons.id_of)
def test_numpy(podspy, workload, python):
    if subprocess.run([python.path, "-c", "import numpy"], capture_output=True, timeout=60).returncode:
        pytest.skip("no numpy here")
    check(podspy, workload(python, "burn_numpy"),
          work=["^call_back$", "^leaf$", "^spin_leaf$", "^sort$"], direct=["^spin_direct$"])
