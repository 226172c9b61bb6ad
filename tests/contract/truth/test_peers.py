"""The peers on the same stress target, judged by the same checker; only with PODSPY_LONG=1, and nothing is
asserted of them. What is always tested is that their output is read as it is meant.

Each peer that is found here (tests/peers.py) samples $PODSPY_TRUTH_PEER_SECONDS (4) seconds at 1000 Hz
in each of four rounds, in turns with the paused truth. One that cannot read a version is told so.
"""

import os
import sys

import pytest

import peers
import pythons

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import check  # noqa: E402
import peer_stacks  # noqa: E402
import shares  # noqa: E402

SECONDS = int(os.environ.get("PODSPY_TRUTH_PEER_SECONDS") or 4)
TRUTH_SAMPLES = int(os.environ.get("PODSPY_TRUTH_SAMPLES") or 20000)
ROUNDS, RATE, GAP_US = 4, 1000, 300
RECORDED = os.path.join(HERE, "recorded")


def row(python, peer, judged, truth):
    off, scatter, name = shares.furthest(shares.differences(judged.last_parts(), truth, paired=False))
    bias = "%.1f +- %.1f (%s)" % (off, scatter, name)
    return "| %s |" % " | ".join([python.id, peer.name, *judged.cells(), bias])


def cannot(python, peer, why):
    return "| %s | %s | cannot: %s |" % (python.id, peer.name, why)


def take(peer, target, judged):
    taken = peers.run(peer, target, SECONDS, RATE)
    judged.add_lines(taken.lines, taken.errors)


@pytest.mark.skipif(not os.environ.get("PODSPY_LONG"), reason="peers are measured with PODSPY_LONG=1")
@pytest.mark.parametrize("python", pythons.supported(), ids=pythons.id_of)
def test_peers_are_measured_on_the_same_target(python, program, stress, peer_outcome, tmp_path):
    root = peers.sid_root()
    inside = bool(python.root and python.root == root)  # then a peer in there can read it
    argv = inside and (lambda script, seconds: peers.in_root(root, tmp_path, python.path, "/mnt/" + script.name, seconds))
    truth, judged, failed = shares.Mode(python), {p(root): peer_stacks.Judged() for p in peers.TRUTH}, {}
    with stress(python, argv) as t:
        target = peers.Target(t.pid, tmp_path, inside)
        for _ in range(ROUNDS):
            shares.one_round(program, t.pid, TRUTH_SAMPLES // ROUNDS + 1, GAP_US, tmp_path, {"always": truth})
            for peer in judged:
                try:
                    if peer not in failed:
                        take(peer, target, judged[peer])
                except peers.Skip as why:
                    failed[peer] = why
    for peer, found in judged.items():
        told = row(python, peer, found, truth.last_parts()) if found.rounds else cannot(python, peer, failed[peer])
        peer_outcome(told)
    assert truth.faults == []


def judged(peer, file):
    """What a recorded output comes to, and its stacks in the raw form."""
    with open(os.path.join(RECORDED, file), encoding="utf-8") as text:
        lines = list(peer(None).collapsed(text))
    result = peer_stacks.Judged()
    result.add_lines(lines)
    return result, lines


# Each file is of a few stacks that its peer wrote of 3.13 or 3.15, shortened; their lines are those of stress.py
# as it is now. One stack of each has an impossible pair, and all but the last peer's one is cut off.
@pytest.mark.parametrize("peer, file, samples, impossible, cut, empty, trampolines", [
    (peers.PySpy, "py-spy.txt", 208, 6 + 27, 27, 88, 6),
    (peers.Austin4, "austin-4.txt", 9, 2, 1, 1, 2),
    (peers.Austin3, "austin-3.7.txt", 10, 2, 1, 3, 2),
    (peers.ProfilingSampling, "profiling.sampling.txt", 43, 1, 0, 0, 7),
])
def test_a_peers_output_is_checked(peer, file, samples, impossible, cut, empty, trampolines):
    result, lines = judged(peer, file)
    assert all(check.parse(line)[1] > 0 for line in lines)
    assert result.counts == {"samples": samples, "cut": cut, "empty": empty, "trampolines": trampolines}
    assert result.impossible() == impossible
    assert sum(result.leaves().values()) == samples - empty


def test_peers_frames_are_converted():
    lines = ["# mode: wall\n", "\n", "P1;T0:7;/x/a.py:C.f:3;<made-4>:made_4:5;__init__:__init__:-1 1066\n", "P1;T0:7 12\n",
             "tid:7;:INVALID: 9\n"]
    frames = "C.f (/x/a.py:3);made_4 (<made-4>:5);__init__ (__init__)"
    assert list(peers.from_colons(lines, counted=False)) == [frames + " 1", " 1", "INVALID () 1"]
    assert list(peers.from_colons(lines, counted=True)) == [frames + " 1066", " 12", "INVALID () 9"]


def test_a_peers_own_error_count_is_read():
    assert peers.PySpy(None).errors("py-spy> Wrote 'x'. Samples: 300 Errors: 100\n") == 25
    assert peers.Austin4(None).errors("Error rate\x1b[0m . . \x1b[1m5/20\x1b[0m (\x1b[1m25%") == 25
    assert peers.ProfilingSampling(None).errors("Sample rate: 9\nError rate: 25.5\n") == 25.5
    assert peers.PySpy(None).errors("nothing") is None
    assert peers.complaint("a\n\x1b[1mCannot read it\x1b[0m\nbye\n") == "Cannot read it"


def test_names_are_checked_at_the_peers_precision():
    """A peer without qualified names is not blamed for that; a peer with qualified names must have the right ones."""
    work = "<module> (stress.py:166);main (stress.py:163);one_round (stress.py:151);work (stress.py:138);"
    plain, whole = (work + "construct (stress.py:61);%s (stress.py:49) 1" % n for n in ("__init__", "C.__init__"))
    unknown = plain.replace(" 1", ";<unknown function> (<unknown file>) 1")
    for lines, impossible in [([plain], 0), ([unknown], 0), ([whole], 0), ([plain, whole], 1)]:
        result = peer_stacks.Judged()
        result.add_lines(lines)
        assert result.impossible() == impossible
