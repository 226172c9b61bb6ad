"""A target with podspy and without, in turns."""

import subprocess
import time


def _sampled(target, flags, options, out):
    command = [options.build / "bin" / "podspy", "record", "--pid", str(target.process.pid), "--duration", "600",
               "--output", out, *flags]
    podspy = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.4)  # attached, caches full
        assert podspy.poll() is None, "podspy record did not start"
        return target.slice(options.slice)
    finally:
        podspy.terminate()
        podspy.wait()
        time.sleep(0.1)


def pairs(target, flags, options, out):
    """[(with, without)], options.pairs of them in the order ABBA, of what target.slice(options.slice) returns. flags: of podspy
    record; None: both are without."""
    result = []
    for i in range(options.pairs):
        got = {}
        for which in ("with", "without") if i % 2 else ("without", "with"):
            with_podspy = which == "with" and flags is not None
            got[which] = _sampled(target, flags, options, out) if with_podspy else target.slice(options.slice)
        result.append((got["with"], got["without"]))
    return result
