"""A stack that is only an earlier call's generator is not shown, however often it is read; a generator that C code runs is."""

import os
import re

import pytest

import pythons
import targets

HERE = os.path.dirname(os.path.abspath(__file__))
IN_3_11 = [p for p in pythons.supported() if p.minor == (3, 11)]
each = pytest.mark.parametrize("python", IN_3_11, ids=pythons.id_of)
each_mode = pytest.mark.parametrize("flags", [[], ["--blocking"], ["--nonblocking"]], ids=lambda f: "".join(f) or "default")
SECONDS = 3


def recorded(python, podspy, called_by, flags):
    with targets.running(python.argv(HERE + "/stale_call.py", called_by, str(SECONDS))) as t:
        r = targets.run([podspy, "record", *flags, "-i", "-p", str(t.pid), "-r", "100", "-d", "1", "-f", "raw", "-o", "-"])
        assert t.read_line() == b"unharmed"
    return r.stdout.decode().splitlines(), r.stderr.decode()


@each_mode
@each
def test_a_generator_of_an_earlier_call_is_not_shown(python, flags, podspy):
    stacks, said = recorded(python, podspy, "nested", flags)
    assert stacks == [] and re.search(r"no stack could be read in \d+ attempts", said), said
    assert ("without --nonblocking" in said) == (flags == ["--nonblocking"])


@pytest.mark.parametrize("flags", [[], ["--blocking"]], ids=["default", "--blocking"])
@each
def test_a_generator_without_a_caller_is_shown(python, flags, podspy):
    stacks, said = recorded(python, podspy, "first", flags)
    assert {re.sub(r" \(.*", "", stack) for stack in stacks} == {"numbers"}, said
    assert sum(int(stack.rpartition(" ")[2]) for stack in stacks) > 50
