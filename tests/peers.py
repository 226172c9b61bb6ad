"""The other samplers that podspy is measured beside, and what they write, in podspy's raw form.

Each is used where it is found:
  py-spy              $PODSPY_BENCH_PYSPY, or py-spy on PATH
  Austin 4            $PODSPY_BENCH_AUSTIN, or austin on PATH; needs mojo2austin beside it
  Austin 3.7          in a sid root: that of tests/interpreters.sh, or tests/bench/sid-root.sh's
  profiling.sampling  CPython 3.15's own, in the sid root, on a 3.15 target in there
"""

import collections
import os
import pathlib
import re
import shutil
import subprocess

import pythons

HERE = pathlib.Path(__file__).resolve().parent

# folder: where peers write; a target inside the sid root sees it as /mnt.
Target = collections.namedtuple("Target", "pid folder in_root depth", defaults=(None,))
# Seconds of CPU; lines "NAME (FILE:LINE);... COUNT"; per cent of its attempts that the peer itself
# says to have failed, or None.
Taken = collections.namedtuple("Taken", "cpu lines errors")


class Skip(Exception):
    """A peer cannot do this; the message says why."""


def sid_root():
    """A root with Debian sid's interpreters: the one of tests/interpreters.sh, else sid-root.sh's, which is
    made where that is asked for; None where there is none."""
    roots = [p.root for p in pythons.supported() if p.root and p.minor == (3, 15)]
    if roots:
        return pathlib.Path(roots[0])
    script = HERE / "bench" / "sid-root.sh"
    if os.environ.get("PODSPY_BENCH_ROOTS") == "1":
        subprocess.run([script, "make"], check=True)
    path = pathlib.Path(subprocess.run([script, "path"], check=True, capture_output=True,
                                       text=True).stdout.strip())
    return path if (path / ".complete").exists() else None


def in_root(root, mount, *command):
    """A command line that runs command inside root, which has our /proc, and mount as /mnt."""
    setup = 'mount --bind /proc "$1/proc"; mount --bind "$2" "$1/mnt"; root=$1; shift 2; exec chroot "$root" "$@"'
    return ["unshare", "--mount", "sh", "-ec", setup, "sh", str(root), str(mount), *map(str, command)]


# --- what they write ---

_COLONS = re.compile(r"(?P<file>.*):(?P<name>[^:]*):(?P<line>-?\d*)$")
_THREAD = re.compile(r"(P\d+|T[\d:]+|tid:\d+)$")


def frame(text):
    """FILE:NAME:LINE as NAME (FILE:LINE). A frame without a line of its own has 0, -1 or none."""
    m = _COLONS.match(text)
    if not m:
        return text
    line = int(m["line"] or 0)
    return "%s (%s:%d)" % (m["name"], m["file"], line) if line > 0 else "%s (%s)" % (m["name"], m["file"])


def from_colons(lines, counted):
    """What Austin and profiling.sampling write. counted: the number is samples, else microseconds of one."""
    for line in lines:
        stack, _, number = line.rstrip("\n").rpartition(" ")
        if stack and not line.startswith("#") and number.isdigit():
            frames = [frame(f) for f in stack.split(";") if not _THREAD.match(f)]
            yield "%s %d" % (";".join(frames), int(number) if counted else 1)


# --- the peers ---

class PySpy:
    name = "py-spy"
    flags = []
    in_sid = False  # found only in the sid root

    def __init__(self, root):
        self.program = os.environ.get("PODSPY_BENCH_PYSPY") or shutil.which("py-spy")

    def command(self, target, seconds, rate, out):
        if not self.program:
            raise Skip("not on PATH")
        return [self.program, "record", *self.flags, "-f", "raw", "-r", rate, "-d", seconds,
                "-p", target.pid, "-o", out]

    def text(self, out):
        """The file to read, made of what it wrote."""
        return out

    def collapsed(self, lines):
        return (line.rstrip("\n") for line in lines if line.strip())

    def errors(self, log):
        m = re.search(r"Samples: (\d+) Errors: (\d+)", log)
        return m and 100 * int(m[2]) / max(int(m[1]) + int(m[2]), 1)


class PySpyNonblocking(PySpy):
    name = "py-spy --nonblocking"
    flags = ["--nonblocking"]


class Austin4:
    name = "Austin 4"
    in_sid = False

    def __init__(self, root):
        self.root = root
        self.program = os.environ.get("PODSPY_BENCH_AUSTIN") or shutil.which("austin")

    def launcher(self):
        """Its C library is newer than Debian 12's: through the sid root's loader, if there is one."""
        if not self.program:
            raise Skip("not on PATH")
        if subprocess.run([self.program, "--version"], capture_output=True).returncode == 0:
            return [self.program]
        if not self.root:
            raise Skip("needs a newer C library and there is no sid root")
        return [self.root / "lib64/ld-linux-x86-64.so.2", "--library-path",
                self.root / "usr/lib/x86_64-linux-gnu", self.program]

    def command(self, target, seconds, rate, out):
        return [*self.launcher(), "-i", 1000000 // rate, "-x", seconds, "-p", target.pid, "-o", out]

    def text(self, out):
        reader = pathlib.Path(self.program).with_name("mojo2austin")
        if not reader.exists():
            raise Skip("mojo2austin (package austin-python) is not beside it")
        text = out.with_suffix(".txt")
        if subprocess.run([reader, out, text], capture_output=True).returncode != 0:
            raise Skip("mojo2austin cannot read what it wrote")
        return text

    def collapsed(self, lines):
        return from_colons(lines, counted=False)

    def errors(self, log):
        m = re.search(r"Error rate.*?(\d+)/(\d+)", log)
        return m and 100 * int(m[1]) / max(int(m[2]), 1)


class Austin3(Austin4):
    name = "Austin 3.7 (Debian sid)"
    in_sid = True

    def __init__(self, root):
        super().__init__(root)
        self.program = None
        for place in ("usr/bin/austin", "opt/austin/usr/bin/austin"):
            if root and (root / place).exists():
                self.program = root / place

    def text(self, out):
        return out


class ProfilingSampling:
    name = "profiling.sampling (CPython 3.15)"
    flags = []
    in_sid = True

    def __init__(self, root):
        self.root = root

    def command(self, target, seconds, rate, out):
        if not target.in_root:
            raise Skip("reads only its own version")
        # In the target's own mounts, where the paths in its maps are true.
        return ["nsenter", "--target", target.pid, "--mount", "--root", "python3.15", "-m",
                "profiling.sampling", "attach", *self.flags, "--collapsed", "-o", f"/mnt/{out.name}",
                "-r", rate, "-d", seconds, target.pid]

    def text(self, out):
        return out

    def collapsed(self, lines):
        return from_colons(lines, counted=True)

    def errors(self, log):
        m = re.search(r"Error rate: ([\d.]+)", log)
        return m and float(m[1])


class ProfilingSamplingAll(ProfilingSampling):
    """All threads, as the others do by default."""
    name = "profiling.sampling"
    flags = ["--all-threads"]


class ProfilingSamplingBlocking(ProfilingSampling):
    name = "profiling.sampling --blocking"
    flags = ["--all-threads", "--blocking"]


# Those whose cost is measured, and those whose stacks are judged.
COST = [PySpyNonblocking, Austin4, Austin3, ProfilingSampling]
TRUTH = [PySpy, PySpyNonblocking, Austin4, Austin3, ProfilingSamplingAll, ProfilingSamplingBlocking]


def used_by(command, log):
    """(exit code, seconds of CPU) of a command and its children, until its end."""
    process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def complaint(log):
    """The line of a program's output that says best why it gave nothing."""
    lines = re.sub(r"\x1b\[[\d;]*m", "", log).strip().splitlines() or ["-"]
    wrong = [line for line in lines if re.search("cannot|error|fail|unsupported|invalid", line, re.I)]
    return (wrong or lines)[-1].strip()[:100]


def run(peer, target, seconds, rate):
    """The result of one run of a peer; it is ended when it takes far longer than it should."""
    out = target.folder / "out"
    out.unlink(missing_ok=True)
    limit = ["timeout", "--kill-after=5", str(seconds + 30)]
    with open(target.folder / "log", "w+", encoding="utf-8", errors="replace") as log:
        status, cpu = used_by(limit + [str(a) for a in peer.command(target, seconds, rate, out)], log)
        log.seek(0)
        said = log.read()
    lines = []
    if out.exists():
        with open(peer.text(out), encoding="utf-8", errors="replace") as text:
            lines = list(peer.collapsed(text))
    if not lines:
        raise Skip(f"no samples, exit code {status}: {complaint(said)}")
    return Taken(cpu, lines, peer.errors(said))
