"""The Python interpreters of this machine that tests run podspy against.

Debian's /usr/bin/python3; what pyenv built ($PYENV_ROOT, else ~/.pyenv); what tests/interpreters.sh
made (a free-threaded build, one linked with musl, and those of Debian's later suites, which run in a
chroot and so need root); the colon-separated programs of $PODSPY_PYTHONS. Nothing is installed for a
test: what is not there is not covered. As a program it prints what is and what is not.
"""

import atexit
import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

SUPPORTED = {(2, 7)} | {(3, minor) for minor in range(3, 16)}
ASK = (
    "import sys, sysconfig; print(sys.version.split()[0]);"
    " print('t' if sysconfig.get_config_var('Py_GIL_DISABLED') else '');"
    " print('d' if hasattr(sys, 'gettotalrefcount') else '')"
)


class Answers:
    """What each program said to ASK, kept in the build folder: dozens of pytest runs ask the same."""

    def __init__(self):
        folder = os.environ.get("PODSPY_BUILD")
        self.file = pathlib.Path(folder, "pythons.json") if folder else None
        try:
            self.known = json.loads(self.file.read_text()) if self.file else {}
        except (OSError, ValueError):
            self.known = {}

    def said(self, argv, outside):
        """The lines; none from a program that cannot run."""
        st = outside.stat()
        key = "%s %d %d" % (argv, st.st_mtime_ns, st.st_size)
        if key not in self.known:
            r = subprocess.run([*argv, "-c", ASK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=300)
            if r.returncode:
                return []
            self.known[key] = r.stdout.split("\n")
            self._save()
        return self.known[key]

    def _save(self):
        if self.file:
            part = self.file.with_suffix(".%d" % os.getpid())
            part.write_text(json.dumps(self.known))
            part.replace(self.file)


class Python:
    def __init__(self, path, where, root=None, answers=None):
        self.path = str(path)  # as seen inside of root
        self.root = root
        self.prefix = ["chroot", str(root)] if root else []
        said = (answers or Answers()).said([*self.prefix, self.path], pathlib.Path(str(root or "") + self.path))
        self.runs = len(said) > 3
        self.version, threaded, debug = said[:3] if self.runs else ("0.0.0", "", "")
        self.minor = tuple(int(n) for n in self.version.split(".")[:2])
        self.free_threaded, self.debug = bool(threaded), bool(debug)
        self.id = "%s-%s%s%s" % (where, self.version, threaded, debug)

    def __repr__(self):
        return self.id

    def place(self, path):
        """The path by which the interpreter opens this file: where it has a root of its own, of a copy."""
        if not self.root:
            return str(path)
        copy = pathlib.Path(_folder_in(self.root), os.path.basename(path))
        shutil.copy(path, copy)
        return "/" + str(copy.relative_to(self.root))

    def argv(self, script, *args):
        """What starts the script, which is a file outside, in this interpreter."""
        return [*self.prefix, self.path, self.place(script), *args]

    def argv_code(self, code, *args):
        return [*self.prefix, self.path, "-c", code, *args]

    def name_of(self, qualified):
        """A function's name as this version has it: qualified from 3.11."""
        return qualified if self.minor >= (3, 11) else qualified.rpartition(".")[2]


@functools.lru_cache(maxsize=None)
def _folder_in(root):
    folder = tempfile.mkdtemp(prefix="podspy-test-", dir=root / "tmp")
    os.chmod(folder, 0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def cache():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get("PODSPY_CACHE") or pathlib.Path(base, "podspy"))


def _candidates():
    """(path, where it is from, root) of what may be an interpreter."""
    for path in os.environ.get("PODSPY_PYTHONS", "").split(":"):
        if path:
            yield pathlib.Path(path), "given", None
    yield pathlib.Path("/usr/bin/python3"), "debian", None
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv")
    for folder in sorted(pyenv.glob("versions/*")):
        yield folder / "bin" / ("python3" if folder.name.startswith("3") else "python"), "built", None
    for folder in sorted(cache().glob("python/*")):
        yield folder / "bin" / "python3", "musl" if "musl" in folder.name else "built", None
    for root in sorted(cache().glob("roots/*")) if os.geteuid() == 0 else []:
        if not (root / ".podspy-ready").exists():
            continue
        for path in sorted((root / "usr/bin").glob("python3.[0-9]*")):
            if "-" not in path.name:  # python3.13-config; python3.13-dbg is python3.13d
                yield pathlib.Path("/usr/bin", path.name), root.name, root


@functools.lru_cache(maxsize=None)
def found():
    """Every interpreter that starts, once, in order of version."""
    seen, result, answers = set(), [], Answers()
    for path, where, root in _candidates():
        outside = pathlib.Path(str(root or "") + str(path))
        if not outside.is_file() or outside.resolve() in seen:
            continue
        seen.add(outside.resolve())
        python = Python(path, where, root, answers)
        if python.runs:
            result.append(python)
    return sorted(result, key=lambda p: (p.minor, p.id))


def id_of(python):
    """For pytest's ids=; where there is no interpreter pytest asks with a thing of its own."""
    return getattr(python, "id", "none here")


def supported():
    return [p for p in found() if p.minor in SUPPORTED]


def here():
    """Those that need no chroot: their .path can be started as it is."""
    return [p for p in supported() if not p.root]


def few():
    """Those of here() that differ most, for tests that take long: Debian's, and one for each way that
    CPython has kept its frames."""
    kinds = [(2, 7), (3, 6), (3, 9), (3, 10), (3, 12), (3, 13)]
    return [p for p in here() if p.id.startswith("debian") or
            (p.minor in kinds and p.id.startswith("built") and not p.free_threaded)]


def three():
    """Of few(), the oldest, Debian's and the newest: where podspy is tested on any Python, whatever its version."""
    return [p for p in few() if p in (few()[0], few()[-1]) or p.id.startswith("debian")]


def unsupported():
    return [p for p in found() if p.minor not in SUPPORTED]


def _ids(pythons):
    return ", ".join(p.id for p in pythons) or "none"


if __name__ == "__main__":
    print("interpreters covered: %s" % _ids(supported()))
    print("of them, where podspy does the same for each version: %s" % _ids(few()))
    print("of them, where any Python does: %s" % _ids(three()))
    print("interpreters here that must be refused: %s" % _ids(unsupported()))
    missing = sorted(SUPPORTED - {p.minor for p in supported()})
    print("versions that are not here: %s" % (", ".join("%d.%d" % m for m in missing) or "none"))
