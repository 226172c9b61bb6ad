"""Pythons that live in another program: found by their symbols, wherever those are."""

import json
import os
import pathlib
import shutil
import subprocess
import threading
import time
import urllib.request

import pytest

import pythons
import targets

HERE = pathlib.Path(__file__).resolve().parent
# Prints its own stack and then holds still on the same line.
SAY = """
import json, os, sys, time
def say(frame):
    out = []
    while frame:
        code = frame.f_code
        out.append([getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno])
        frame = frame.f_back
    return json.dumps({"pid": os.getpid(), "version": sys.version.split()[0], "frames": out}) + "\\n"
"""
CODE = SAY + """
def inner():
    sys.stdout.write(say(sys._getframe())); sys.stdout.flush(); time.sleep(600)
def outer():
    inner()
outer()
"""


def library_of(python):
    """The interpreter as a library, or None."""
    if python.root or not python.id.startswith(("built", "debian")) or python.free_threaded:
        return None
    code = "import sysconfig; print(sysconfig.get_config_var('LIBDIR')); print(sysconfig.get_config_var('INSTSONAME'))"
    folder, name = subprocess.check_output(python.argv_code(code), text=True).split()
    paths = [pathlib.Path(folder, name), pathlib.Path("/usr/lib/x86_64-linux-gnu", name)]
    return next((p for p in paths if ".so" in name and p.exists()), None)


LIBRARIES = [(p, library_of(p)) for p in pythons.here() if library_of(p)]


def compiled(source, out, *flags):
    subprocess.run(["cc", "-w", HERE / source, *flags, "-pthread", "-ldl", "-o", out], check=True)
    return out


def home_of(python):
    """Where an interpreter that is a library finds its own modules."""
    code = "import sys; print(sys.prefix)"
    return subprocess.check_output(python.argv_code(code), text=True).strip()


def dumped(podspy, pid):
    r = targets.run([podspy, "dump", "-j", "-p", str(pid)])
    assert r.returncode == 0, r.stderr
    return [[[f["name"], f["filename"], f["line"]] for f in e["frames"]] for e in json.loads(r.stdout)]


@pytest.mark.parametrize("python,library", LIBRARIES, ids=lambda x: getattr(x, "id", ""))
def test_an_embedded_interpreter_is_read(python, library, podspy, tmp_path):
    host = compiled("host.c", tmp_path / "service")
    env = dict(os.environ, PYTHONHOME=home_of(python))
    with targets.running([host, CODE, library], env=env) as t:
        assert dumped(podspy, t.pid) == [t.said["frames"]]
        text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
        assert "Python v%s (" % python.version in text


def test_two_interpreters_in_one_process_are_read(podspy, tmp_path):
    """One of them is shown; what is shown is that one's, and named so."""
    if len(LIBRARIES) < 2:
        pytest.skip("there are no two Pythons here that are libraries")
    host = compiled("host.c", tmp_path / "service")
    for (a, one), (b, other) in (LIBRARIES[-2:], (LIBRARIES[0], LIBRARIES[-1])):
        if a.minor == b.minor or b.minor < (3,):
            continue
        # What needs no modules of its own: each would look for them in the other's folder.
        code = CODE.replace("import json, os, sys, time", "import posix as os, sys, time").replace(
            "json.dumps", "repr")
        with targets.running([host, code, one, other], stderr=subprocess.DEVNULL) as t:
            second = t.read_line()
            said = {s["version"]: s["frames"] for s in (eval(t.said), eval(second))}
            text = targets.run([podspy, "dump", "-p", str(t.pid)]).stdout.decode()
            version = text.split("Python v")[1].split(" ")[0]
            assert dumped(podspy, t.pid) == [[list(f) for f in said[version]]]


@pytest.mark.skipif(not shutil.which("uwsgi"), reason="uwsgi is not installed")
def test_uwsgi_is_read(podspy, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(SAY + """
def wait(path):
    with open(path, "w") as out:
        out.write(say(sys._getframe())); out.flush(); time.sleep(600)
def application(environ, start_response):
    wait(environ["QUERY_STRING"])
""")
    said = tmp_path / "said"
    argv = ["uwsgi", "--plugin", "python3", "--http-socket", "127.0.0.1:0", "--wsgi-file", app,
            "--master", "--processes", "1", "--threads", "2", "--die-on-term"]
    with targets.running(argv, wait_line=False, stderr=subprocess.STDOUT) as t:
        while b"spawned uWSGI worker 1" not in (line := t.process.stdout.readline()):
            assert line, "uwsgi ended"
        worker = int(line.split(b"pid: ")[1].split(b",")[0].rstrip(b")"))
        port = targets.wait_for(lambda: listening(t.pid))
        url = "http://127.0.0.1:%d/?%s" % (port, said)
        client = threading.Thread(target=lambda: ask(url), daemon=True)
        client.start()
        try:
            want = targets.wait_for(lambda: said.exists() and said.read_text().endswith("\n") and said.read_text())
            time.sleep(0.1)
            assert json.loads(want)["frames"] in dumped(podspy, json.loads(want)["pid"])
        finally:
            os.kill(worker, 9)


def ask(url):
    try:
        urllib.request.urlopen(url, timeout=30).read()
    except OSError:
        pass


def listening(pid):
    """The port of the process's own socket that listens."""
    inodes = {os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)}
    with open("/proc/%d/net/tcp" % pid) as f:
        for line in f.readlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and "socket:[%s]" % fields[9] in inodes:
                return int(fields[1].split(":")[1], 16)
    return None


@pytest.mark.parametrize("name,flag,version", [
    ("service", "-DVERSION_HEX=0x031000f0", "3.16.0"),
    ("service", "-DVERSION_HEX=0x040000b2", "4.0.0b2"),
    ("python3.2", '-DVERSION_TEXT="3.2.6"', "3.2.6"),
    ("python2.6", '-DVERSION_TEXT="2.6.9"', "2.6.9"),
])
def test_an_unknown_version_is_refused_by_name(name, flag, version, podspy, tmp_path):
    program = compiled("unknown.c", tmp_path / name, flag, "-rdynamic")
    with targets.running([program]) as t:
        for command in (["dump"], ["record", "-o", tmp_path / "out"]):
            r = targets.run([podspy, *command, "-p", str(t.pid)])
            text = r.stderr.decode()
            assert r.returncode == 1 and r.stdout == b"" and "Error: " in text
            assert "Python %s is not supported by this build (it knows 2.7 and 3.3 to 3.15)" % version in text
