"""The system's thread behind a pthread_self(), in each C library that is here."""

import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("compiler", ["cc", "musl-gcc"])
def test_each_thread_is_found(compiler, threads, program, tmp_path):
    if not shutil.which(compiler):
        pytest.skip("%s is not installed" % compiler)
    target = tmp_path / "target"
    subprocess.run([compiler, HERE / "tids_target.c", "-pthread", "-o", target], check=True)
    with subprocess.Popen([target, str(threads)], stdout=subprocess.PIPE, text=True) as process:
        try:
            said = [line.split() for line in iter(process.stdout.readline, "done\n")]
            # Two thread states can have one thread: a subinterpreter's and its caller's.
            for idents in ([s[0] for s in said], [s[0] for s in said] + [said[0][0]]):
                argv = [program("python_probe"), "tids", str(process.pid), *idents]
                got = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
                assert got == [dict(said)[i] for i in idents]
            # What is not a thread's has no number.
            argv = [program("python_probe"), "tids", str(process.pid), said[0][0], "7fff00000000"]
            assert subprocess.check_output(argv, text=True).split() == [said[0][1], "0"]
        finally:
            process.kill()
