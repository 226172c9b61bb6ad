"""The Python interpreters of this machine that tests run podspy against.

/usr/bin/python3, what pyenv built ($PYENV_ROOT, else ~/.pyenv), and the colon-separated programs of
$PODSPY_PYTHONS. Nothing is installed for a test: what is not there is not covered, and the tests
print which ones are.
"""

import functools
import os
import pathlib
import re
import subprocess

SUPPORTED = {(3, 11), (3, 12), (3, 13)}


class Python:
    def __init__(self, path, version):
        self.path = str(path)
        self.version = version
        self.minor = tuple(int(n) for n in version.split(".")[:2])
        self.id = ("debian-" if self.path.startswith("/usr/bin/") else "built-") + version


def _candidates():
    for path in os.environ.get("PODSPY_PYTHONS", "").split(":"):
        if path:
            yield pathlib.Path(path)
    yield pathlib.Path("/usr/bin/python3")
    root = pathlib.Path(os.environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv")
    for folder in sorted((root / "versions").glob("*")):
        yield folder / "bin" / ("python3" if folder.name.startswith("3") else "python")


@functools.lru_cache
def found():
    """Every interpreter that starts, once."""
    seen, result = set(), []
    for path in _candidates():
        if not path.is_file() or path.resolve() in seen:
            continue
        seen.add(path.resolve())
        r = subprocess.run([path, "-V"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        m = re.match(r"Python (\d+\.\d+\.\S+)", r.stdout)
        if m:
            result.append(Python(path, m[1]))
    return result


def supported():
    return [p for p in found() if p.minor in SUPPORTED]


def unsupported():
    return [p for p in found() if p.minor not in SUPPORTED and p.minor < (3, 11)]
