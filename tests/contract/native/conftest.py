"""The extension modules, built for an interpreter when a test first asks for them."""

import os
import pathlib
import shutil
import subprocess

import pytest

import pythons

HERE = pathlib.Path(__file__).parent
INCLUDE = "import sysconfig; print(sysconfig.get_path('include'))"
COMPILERS = {"burn_c": ("cc", "burn_c.c"), "burn_cpp": ("c++", "burn_cpp.cc"), "burn_cython": ("cc", "burn_cython.c")}


def include_flags(python):
    """None: its headers are not installed."""
    said = subprocess.run(python.argv_code(INCLUDE), capture_output=True, text=True, timeout=60)
    root = str(python.root or "")
    folder = pathlib.Path(root + said.stdout.strip())
    if not (folder / "Python.h").exists():
        return None
    return ["-I%s" % folder, "-idirafter", root + "/usr/include"]


def build_rust(manner, folder):
    """manner: how names are mangled, "legacy" or "v0". The older compilers know both; later ones hide the first behind an
    option for themselves."""
    library = folder / "libburn_rust.so"
    argv = ["rustc", "--crate-type", "cdylib", "--crate-name", "burn_rust", "-O", "-g",
            "-C", "symbol-mangling-version=%s" % manner, HERE / "burn_rust.rs", "-o", library]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    if done.returncode and "unstable-options" in done.stderr:
        done = subprocess.run([*argv, "-Z", "unstable-options"], capture_output=True, text=True, timeout=120,
                              env=dict(os.environ, RUSTC_BOOTSTRAP="1"))
    if done.returncode:
        pytest.skip("rustc here makes no library with %s names: %s" % (manner, done.stderr.strip().splitlines()[:1]))
    return library


def build(python, name, folder):
    flags = include_flags(python)
    compiler, source = COMPILERS[name]
    if flags is None:
        pytest.skip("%s has no headers here" % python.id)
    if not shutil.which(compiler):
        pytest.skip("no %s here" % compiler)
    path = HERE / source
    if name == "burn_cython":
        if not shutil.which("cython3"):
            pytest.skip("no cython3 here")
        path = folder / source
        subprocess.run(["cython3", "-3", HERE / "burn_cython.pyx", "-o", path], check=True, timeout=120)
    library = folder / ("%s.so" % name)
    # The parts of a function that the compiler made are told from it by their names.
    subprocess.run([compiler, "-O2", "-g", "-fPIC", "-shared", "-fno-optimize-sibling-calls", *flags, path, "-o", library],
                   check=True, timeout=120)
    return library


@pytest.fixture(scope="session")
def workload(tmp_path_factory):
    """workload(python, module): the command line of workload.py with that module. Rust's is for those without a root."""
    def made(python, module, manner=None):
        folder = tmp_path_factory.mktemp("native")
        if module == "burn_rust":
            build_rust(manner, folder)
        elif module in COMPILERS:
            python.place(build(python, module, folder))
        else:
            python.place(HERE / ("%s.py" % module))
        script = python.place(HERE / "workload.py")
        if not python.root:
            for file in (HERE / "workload.py", *HERE.glob("burn_*.py")):
                shutil.copy(file, folder)
            script = folder / "workload.py"
        return [*python.prefix, python.path, str(script), module]

    return made


@pytest.fixture(params=pythons.few() if os.environ.get("PODSPY_SANITIZE") else pythons.supported(), ids=pythons.id_of)
def python(request):
    return request.param
