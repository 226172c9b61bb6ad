"""closing.py BUILD...: what the last CTest run in each build folder left out, test by test and why, and a closing line.

A test of pytest's is counted as one, so is each of cmocka's, and whatever else CTest ran as a whole. pytest says
`skipped: NAME: REASON` (tests/conftest.py), cmocka's tests say `left out: REASON` before they skip. Lines that begin
with `measured again: ` (tests/machine.py, tests/unit/test.h) are shown as they are.
"""

import collections
import pathlib
import re
import sys

Counts = collections.namedtuple("Counts", "passed failed skipped")

_SECTION = re.compile(r"^\d+/\d+ Test: (\S+)\n(.*?)<end of output>\n.*?\n(Test \w+)", re.M | re.S)
_PYTEST_END = re.compile(r"^=*\s*((?:\d+ \w+,? ?)+) in [\d.]+s", re.M)
_PYTEST_SKIP = re.compile(r"^skipped: (\S.*?): (.*)$", re.M)
_CMOCKA = re.compile(r"^\[ +(OK|FAILED|SKIPPED) +\] (\w+)$", re.M)
_CMOCKA_TEST = re.compile(r"^\[ RUN +\] (\w+)\n(.*?)^\[ +SKIPPED +\] \1$", re.M | re.S)
_AGAIN = re.compile(r"^measured again: (.*)$", re.M)
_LEFT_OUT = re.compile(r"left out: (.*)$", re.M)


def _count_pytest(end):
    said = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", end)}
    return Counts(said.get("passed", 0), sum(n for word, n in said.items() if word in ("failed", "error", "errors")),
                  said.get("skipped", 0))


def read(output, verdict):
    """(Counts, [(test, reason)]) of what one CTest test printed."""
    ends = _PYTEST_END.findall(output)
    if ends:
        return _count_pytest(ends[-1]), _PYTEST_SKIP.findall(output)
    results = [word for word, _ in _CMOCKA.findall(output)]
    if results:
        skipped = []
        for name, said in _CMOCKA_TEST.findall(output):
            why = _LEFT_OUT.search(said)
            skipped.append((name, why[1] if why else "it does not say why"))
        return Counts(results.count("OK"), results.count("FAILED"), len(skipped)), skipped
    return Counts(verdict == "Test Passed", verdict == "Test Failed", False), []


def read_log(text):
    """{CTest test: (output, verdict)}; where somebody had CTest repeat a test, the last time."""
    return {name: (output, verdict) for name, output, verdict in _SECTION.findall(text)}


def without_parameters(test):
    """The file's path and the parameters say little more."""
    return re.sub(r"\[.*\]$", "", test.rpartition("::")[2])


def main(builds):
    total = Counts(0, 0, 0)
    reasons = collections.defaultdict(collections.Counter)
    again = []
    for build in builds:
        log = (build / "Testing" / "Temporary" / "LastTest.log").read_text(errors="replace")
        for suite, said in read_log(log).items():
            counts, skipped = read(*said)
            total = Counts(*map(sum, zip(total, counts)))
            again += [f"  {build.name} {suite} {line}" for line in _AGAIN.findall(said[0])]
            for test, why in skipped:
                reasons[why][f"{suite} {without_parameters(test)}"] += 1
    if reasons:
        print("skipped, in all builds, and why:")
    for why, tests in sorted(reasons.items()):
        print(f"  {sum(tests.values())}: {why}")
        for test, n in sorted(tests.items()):
            print(f"      {test}" + (f" ({n} times)" if n > 1 else ""))
    for line in again and ["measured more than once, since other programs had the CPU:"] + again:
        print(line)
    print("%d passed, %d failed, %d skipped" % total)


if __name__ == "__main__":
    main([pathlib.Path(build) for build in sys.argv[1:]])
