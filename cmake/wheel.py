#!/usr/bin/env python3
"""wheel.py PROGRAM FOLDER: packs the static podspy as a wheel into FOLDER and prints its path.

A wheel is a zip file (packaging.python.org, Binary distribution format). What lies in
NAME.data/scripts is put on PATH by the installer. The program needs no C library of the machine, so
that the platform tags of old glibc and of musl are both true. The licence texts of what is linked
into it are those of Debian's packages. Uses Python's standard library only.
"""

import base64
import hashlib
import pathlib
import platform
import subprocess
import sys
import zipfile

REPO = pathlib.Path(__file__).resolve().parent.parent
# Debian's packages whose code is in the program; as of agent/cli/CMakeLists.txt.
LINKED = ["libc6-dev", "libgcc-12-dev", "libiberty-dev", "liblzma-dev", "libncurses-dev", "libpcre2-dev", "libprotobuf-c-dev",
          "libxxhash-dev", "libzstd-dev", "zlib1g-dev"]
MODE_PROGRAM, MODE_TEXT = 0o100755, 0o100644
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same input makes the same wheel

METADATA = """\
Metadata-Version: 2.1
Name: podspy
Version: {version}
Summary: Sampling profiler that reads running Python programs from outside
License: {license}
Classifier: Operating System :: POSIX :: Linux
Classifier: Topic :: Software Development :: Debuggers
Description-Content-Type: text/markdown

`podspy record`, `podspy top`, `podspy dump` and `podspy doctor` as one static program. The agent is in the Debian
package and in the image.
"""
WHEEL = """\
Wheel-Version: 1.0
Generator: podspy
Root-Is-Purelib: false
"""


def tags():
    """manylinux2014 is glibc 2.17 of CentOS 7, musllinux_1_1 is musl 1.1."""
    machine = platform.machine()
    names = ["manylinux2014", "manylinux_2_17", "musllinux_1_1"]
    return ["%s-none-%s_%s" % (python, name, machine) for python in ("py2", "py3") for name in names]


def copyright_of(package):
    path = pathlib.Path("/usr/share/doc", package, "copyright")
    if not path.is_file():
        sys.exit("%s is missing: install %s, whose code is in the program" % (path, package))
    return path.read_bytes()


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def contents(program, version):
    """{path in the wheel: (bytes, mode)} of all but RECORD."""
    name = "podspy-" + version
    info, own = name + ".dist-info/", (REPO / "LICENSE").read_bytes()
    wheel = WHEEL + "".join("Tag: %s\n" % tag for tag in tags())
    files = {
        name + ".data/scripts/podspy": (program.read_bytes(), MODE_PROGRAM),
        info + "METADATA": (METADATA.format(version=version, license=own.decode().split("\n")[0]).encode(), MODE_TEXT),
        info + "WHEEL": (wheel.encode(), MODE_TEXT),
        info + "licenses/podspy": (own, MODE_TEXT),
    }
    for package in LINKED:
        files[info + "licenses/" + package] = (copyright_of(package), MODE_TEXT)
    return info, files


def write(path, info, files):
    record = ["%s,sha256=%s,%d" % (name, digest(data), len(data)) for name, (data, _) in files.items()]
    record.append(info + "RECORD,,\n")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        for name, (data, mode) in {**files, info + "RECORD": ("\n".join(record).encode(), MODE_TEXT)}.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(entry, data)


def main():
    program, folder = (pathlib.Path(a) for a in sys.argv[1:])
    said = subprocess.run([program, "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout
    version = said.split()[-1]
    info, files = contents(program, version)
    platforms = ".".join(dict.fromkeys(tag.split("-")[-1] for tag in tags()))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("podspy-%s-py2.py3-none-%s.whl" % (version, platforms))
    write(path, info, files)
    print("%s: %d bytes" % (path, path.stat().st_size))


if __name__ == "__main__":
    main()
