"""The wheel holds the static program: pip puts it on PATH, and takes all of it away again."""

import os
import re
import subprocess
import sys
import zipfile

import pytest

import targets

if os.environ.get("PODSPY_SANITIZE"):
    pytest.skip("the sanitizers need shared libraries", allow_module_level=True)

PIP = ["/usr/bin/python3", "-m", "pip", "--disable-pip-version-check"]


def run(*argv):
    r = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout


@pytest.fixture(scope="module")
def wheel(repo_dir, program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    stripped = folder / "podspy"
    run("strip", "-o", stripped, program("podspy-static"))
    said = run("/usr/bin/python3", repo_dir / "cmake/wheel.py", stripped, folder)
    (path,) = folder.glob("*.whl")
    assert said == "%s: %d bytes\n" % (path, path.stat().st_size)
    return path


@pytest.fixture
def venv(tmp_path):
    path = tmp_path / "venv"
    run("/usr/bin/python3", "-m", "venv", "--without-pip", path)
    return path


def files_of(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if "__pycache__" not in p.parts)


def test_pip_puts_podspy_on_path_and_takes_it_away(wheel, venv):
    pip = [*PIP, "--python", venv / "bin/python"]
    before = files_of(venv)
    run(*pip, "install", "--no-index", wheel)
    code = "import time; print('ready', flush=True); time.sleep(60)"
    with targets.running([venv / "bin/python", "-c", code]) as t:
        said = run("sh", "-c", 'PATH=$1:$PATH podspy dump -p "$2"', "sh", venv / "bin", t.pid)
    assert "<module>" in said
    assert re.fullmatch(r"podspy \d+\.\d+\.\d+\n", run(venv / "bin/podspy", "--version"))
    run(*pip, "uninstall", "-y", "podspy")
    assert files_of(venv) == before


@pytest.mark.parametrize("platform", ["manylinux2014", "musllinux_1_1"])
def test_pip_takes_it_for_glibc_and_for_musl(platform, wheel, tmp_path):
    machine = os.uname().machine
    run(*PIP, "install", "--no-index", "--platform", f"{platform}_{machine}", "--only-binary", ":all:",
        "--target", tmp_path, wheel)
    assert os.access(tmp_path / "bin/podspy", os.X_OK)


def test_it_brings_the_licences_of_what_is_linked_into_it(wheel, build_dir):
    commands = run("ninja", "-C", build_dir, "-t", "commands", "bin/podspy-static").split("\n")
    link = next(c for c in commands if "-o bin/podspy-static" in c)
    archives = set(re.findall(r"(/usr/lib/\S+\.a)", link))
    assert len(archives) > 3
    packages = {line.split(":")[0] for line in run("dpkg", "-S", *archives).splitlines()} | {"libc6-dev"}
    with zipfile.ZipFile(wheel) as z:
        licences = {n.rpartition("/")[2]: z.read(n) for n in z.namelist() if "/licenses/" in n}
    assert packages <= set(licences), packages - set(licences)
    assert all(licences.values()) and b"The podspy authors" in licences["podspy"]


def test_the_same_program_makes_the_same_wheel(wheel, repo_dir, tmp_path):
    run(sys.executable, repo_dir / "cmake/wheel.py", wheel.parent / "podspy", tmp_path)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()
