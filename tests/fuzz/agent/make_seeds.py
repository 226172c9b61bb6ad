#!/usr/bin/python3
"""make_seeds.py BUILD CORPUS: the seeds of fuzz_walk, fuzz_core and fuzz_elf.

For each interpreter found (tests/pythons.py): a process that spins in a few frames of all kinds is
written to a core by gcore, and what podspy reads of that becomes CORPUS/walk/VERSION; the same as a
small core file becomes CORPUS/core/VERSION. A shared object that gcc makes becomes CORPUS/elf.
"""

import os
import pathlib
import re
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
import pythons  # noqa: E402

CORES = [(2, 7), (3, 9), (3, 13)]
TARGET = r'''
# -*- coding: utf-8 -*-
import sys, threading, time
def nap():
    time.sleep(600)
def deep(n):
    return deep(n - 1) if n else spin()
def spin():
    def gen():
        while True:
            yield 1
    for _ in gen():
        pass
t = threading.Thread(target=nap)
t.daemon = True
t.start()
scope = {"deep": deep}
exec(compile(u"def f\u00e9(n):\n  deep(n)\nf\u00e9(5)\n" if sys.version_info > (3,) else "def f(n):\n  deep(n)\nf(5)\n",
             u"\u0444.py" if sys.version_info > (3,) else "\xd1\x84.py", "exec"), scope)
'''


class InRoot:
    """An interpreter of a Debian root that tests/interpreters.sh made."""

    def __init__(self, root, path):
        self.root = root
        self.path = "/usr/bin/" + path.name
        self.minor = tuple(int(n) for n in path.name[6:].split("."))
        self.id = root.name + "-" + path.name


def in_roots():
    cache = os.environ.get("PODSPY_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "podspy")
    for root in sorted(pathlib.Path(cache, "roots").glob("*/")):
        for path in sorted(root.glob("usr/bin/python3.*")):
            if re.fullmatch(r"python3\.\d+", path.name) and os.geteuid() == 0:
                yield InRoot(root, path)


class Embedded:
    """/usr/bin/python3's own library in a program that exports nothing, where the headers are installed."""
    minor = sys.version_info[:2]
    id = "embedded"

    def __init__(self, tmp):
        self.path = tmp / "service"
        (tmp / "e.c").write_text("#include <Python.h>\nint main(int n, char **v) { return Py_BytesMain(n, v); }\n")
        library = pathlib.Path(sysconfig.get_config_var("LIBPL")) / sysconfig.get_config_var("LIBRARY")
        subprocess.run(["gcc", "-no-pie", "-s", "-I" + sysconfig.get_path("include"), "-o", self.path, tmp / "e.c",
                        library, "-lexpat", "-lz", "-lm", "-ldl"], check=True)


def start(python, tmp):
    if isinstance(python, InRoot):
        return subprocess.Popen(["chroot", python.root, python.path, "-c", TARGET])
    script = tmp / "spin.py"
    script.write_text(TARGET, encoding="utf-8")
    return subprocess.Popen([python.path, script])


def snapshot(python, build, out, tmp):
    p = start(python, tmp)
    try:
        for attempt in range(10):  # between two frames, a stack does not hang together
            time.sleep(0.5)
            subprocess.run(["gcore", "-o", tmp / "core", str(p.pid)], check=True, capture_output=True)
            core = tmp / f"core.{p.pid}"
            r = subprocess.run([build / "bin/record_image", core, out], text=True, capture_output=True)
            core.unlink()
            frames = [int(n) for n in re.findall(r": (\d+) frames", r.stdout)]
            # gdb writes no thread's stack whose guard page is none of its own mapping (glibc 2.42)
            want = 1 if isinstance(python, InRoot) else 2
            if len(frames) >= want and max(frames) >= 9:
                scrub(out)
                return True
        print(python.id, "gave", r.stdout, r.stderr)
    finally:
        p.kill()
        p.wait()
    return False


def scrub(out):
    """What the home folder of the maker is called is nobody's business."""
    home = str(pathlib.Path.home()).encode()
    out.write_bytes(out.read_bytes().replace(home, b"/" + b"h" * (len(home) - 1)))


def image(data):
    def take(fmt):
        nonlocal at
        values = struct.unpack_from("<" + fmt, data, at)
        at += struct.calcsize("<" + fmt)
        return values
    at = 0
    pid, n = take("IH")
    maps = []
    for _ in range(n):
        start, end, offset, flags, length = take("QQQBB")
        maps.append((start, end, offset, flags, data[at:at + length]))
        at += length
    n, = take("H")
    tids = take("%dI" % n)
    n, = take("B")
    at += 14 * n
    pieces = []
    while at < len(data):
        addr, length = take("QH")
        pieces.append((addr, data[at:at + length]))
        at += length
    return pid, maps, tids, pieces


def note(kind, desc):
    pad = b"\0" * (-len(desc) % 4)
    return struct.pack("<III", 5, len(desc), kind) + b"CORE\0\0\0\0" + desc + pad


def core_of(data, machine=62):
    """An ELF core file of an image: core(5), elf(5)."""
    pid, maps, tids, pieces = image(data)
    notes = b"".join(note(1, struct.pack("<12xh2x16xI", 11, t) + b"\0" * 300) for t in tids)
    notes += note(3, struct.pack("<24xI12x16s80s", pid, b"python", b"python spin.py"))
    files = [m for m in maps if m[4]]
    notes += note(0x46494C45, struct.pack("<QQ", len(files), 4096) +
                  b"".join(struct.pack("<QQQ", s, e, o // 4096) for s, e, o, _, _ in files) +
                  b"".join(m[4] + b"\0" for m in files))
    n = len(pieces) + 1
    at = 64 + 56 * n
    headers = struct.pack("<IIQQQQQQ", 4, 0, at, 0, 0, len(notes), 0, 4)
    body = notes
    for addr, b in pieces:
        headers += struct.pack("<IIQQQQQQ", 1, 6, at + len(body), addr, 0, len(b), len(b), 1)
        body += b
    return struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 4, machine, 1, 0, 64, 0, 0,
                       64, 56, n, 0, 0, 0) + headers + body


def modules(folder, tmp):
    source = tmp / "m.c"
    source.write_text("int _PyRuntime[4] = {1}; const int Py_Version = 3; static int interp_head = 2;\n"
                      "int *x(void) { return &interp_head; }\n")
    for style in ("gnu", "sysv"):
        out = folder / style
        subprocess.run(["gcc", "-shared", "-nostdlib", "-fPIC", "-Os", "-Wl,--hash-style=" + style,
                        "-Wl,-z,noseparate-code,-z,max-page-size=512,--build-id=none", "-o", out, source], check=True)
        subprocess.run(["objcopy", "-R", ".comment", "-R", ".eh_frame", out], check=True)
        os.chmod(out, 0o644)


def main():
    build, corpus = map(pathlib.Path, sys.argv[1:])
    for name in ("walk", "core", "elf"):
        (corpus / name).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        modules(corpus / "elf", tmp)
        for python in [*(p for p in pythons.found() if not getattr(p, "root", None)), *in_roots()]:
            name = "%d.%d" % python.minor + ("t" if getattr(python, "free_threaded", False) else "")
            out = corpus / "walk" / name
            if not out.exists() and snapshot(python, build, out, tmp):
                if python.minor in CORES:
                    (corpus / "core" / name).write_bytes(core_of(out.read_bytes()))
                print(python.id, out.stat().st_size)
        if not (corpus / "walk" / "unnamed").exists():
            snapshot(Embedded(tmp), build, corpus / "walk" / "unnamed", tmp)


if __name__ == "__main__":
    main()
