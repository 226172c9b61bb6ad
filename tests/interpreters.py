"""The CPython interpreters on this machine that tests may use as targets.

As a program it prints what the tests cover and what they leave out.
"""

import os
import pathlib
import subprocess

SUPPORTED = {(3, 11), (3, 12), (3, 13)}


def _candidates():
    yield pathlib.Path("/usr/bin/python3")
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv")
    for folder in sorted(pyenv.glob("versions/*")):
        for name in ("python3", "python"):
            if (folder / "bin" / name).exists():
                yield folder / "bin" / name
                break


def _version(path):
    code = "import sys; print('%d %d %d' % sys.version_info[:3])"
    out = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=30)
    return tuple(int(n) for n in out.stdout.split()) if out.returncode == 0 else None


def installed():
    """[(version, path)] of every interpreter found, supported or not, in order of version."""
    found = {}
    for path in _candidates():
        version = _version(path) if path.exists() else None
        if version:
            found[path] = version
    return sorted((version, path) for path, version in found.items())


def supported():
    """[(version, path)] of those whose layout podspy knows."""
    return [(v, p) for v, p in installed() if v[:2] in SUPPORTED]


def _text(versions):
    return ", ".join(".".join(map(str, v)) for v, _ in versions) or "none"


if __name__ == "__main__":
    known = supported()
    print(f"interpreters covered: {_text(known)}")
    print(f"interpreters here that must be refused: "
          f"{_text([x for x in installed() if x not in known])}")
