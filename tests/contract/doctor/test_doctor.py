"""podspy doctor says why a process can or cannot be profiled, and what to change."""

import http.server
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

import machine
import pythons

NAP = """
import sys, time
def nap():
    time.sleep(120)
sys.stdout.write("up\\n"); sys.stdout.flush()
nap()
"""


@pytest.fixture
def start():
    running = []

    def start(*argv, **options):
        running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, **options))
        return running[-1]

    yield start
    for p in running:
        p.kill()
        p.wait()
        p.stdout.close()


@pytest.fixture
def python(start):
    def make(**options):
        p = start("/usr/bin/python3", "-c", NAP, **options)
        assert p.stdout.readline() == "up\n"
        return p
    return make


def doctor(podspy, *args, prefix=(), env=None):
    done = subprocess.run([*prefix, str(podspy), "doctor", *map(str, args)], capture_output=True, text=True,
                          timeout=60, env=env)
    found = {name: (word, text) for word, name, text in
             re.findall(r"^(ok|note|NO) +([\w/ ]+): (.*(?:\n     -> .*)?)$", done.stdout, re.M)}
    return done.returncode, found, done.stdout + done.stderr


def test_a_readable_python_passes_every_check(podspy, python):
    code, found, said = doctor(podspy, "-p", python().pid)
    assert code == 0, said
    assert list(found) == ["process", "system call", "user namespace", "user", "capabilities", "dumpable", "Yama",
                           "security module", "pausing", "Python", "threads", "sample", "native frames",
                           "perf map"]
    assert found["Python"][0] == "ok" and re.search(r"CPython 3\.\d+", found["Python"][1])
    assert "in nap" in found["sample"][1]
    word, text = found["native frames"]
    assert re.match(r"thread \d+ has [1-9]\d*, ", text), said
    assert "each with its name" in text if word == "ok" else "install the debug symbols of that file" in text
    assert found["perf map"][1].startswith("none")
    assert "can be profiled" in said


def test_a_perf_map_is_counted(podspy, start):
    able = [p for p in pythons.here() if p.minor >= (3, 12) and p.id.startswith("built")]
    if not able:
        pytest.skip("no Python here has -X perf")
    p = start(able[0].path, "-X", "perf", "-c", NAP)
    try:
        assert p.stdout.readline() == "up\n"
        code, found, said = doctor(podspy, "-p", p.pid)
        assert code == 0 and re.match(r"names [1-9]\d* functions", found["perf map"][1]), said
    finally:
        pathlib.Path(f"/tmp/perf-{p.pid}.map").unlink(missing_ok=True)


def test_a_missing_process_and_another_program_are_named(podspy, start):
    gone = start("true")
    gone.wait()
    code, found, said = doctor(podspy, "-p", gone.pid)
    assert code == 1 and found["process"][0] == "NO" and "Python" not in found, said
    code, found, said = doctor(podspy, "-p", start("sleep", "60").pid)
    assert code == 1 and found["Python"][0] == "NO" and "sample" not in found, said


def test_a_zombie_is_reported_as_ended(podspy, start):
    zombie = start("true")
    time.sleep(0.5)  # nobody waits for it
    code, found, said = doctor(podspy, "-p", zombie.pid)
    assert code == 1 and "zombie" in found["process"][1], said


@pytest.mark.skipif(os.geteuid() != 0, reason="changes users and capabilities")
class TestRights:
    def test_another_users_process_is_reported(self, podspy, python):
        if why := machine.why_no_foreign_reads():
            pytest.skip(why)
        code, found, said = doctor(podspy, "-p", python(user=65533).pid, prefix=as_user(65534))
        assert code == 1 and found["user"][0] == "NO", said
        assert "run as root (sudo podspy ...) or as that user" in found["user"][1]

    def test_root_without_cap_sys_ptrace_is_reported(self, podspy, python):
        other = python(user=65534)
        bare = ("setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace")
        code, found, said = doctor(podspy, "-p", other.pid, prefix=bare)
        assert code == 1 and found["user"][0] == "NO" and "--cap-add SYS_PTRACE" in found["user"][1], said
        assert "capabilities.add: [SYS_PTRACE]" in found["user"][1]

    def test_a_process_that_is_not_dumpable_is_reported(self, podspy, start):
        if why := machine.why_no_foreign_reads():
            pytest.skip(why)
        # It gives root up after its start: the kernel then takes it for one that holds secrets.
        p = start("/usr/bin/python3", "-c", "import os; os.setgid(65534); os.setuid(65534)\n" + NAP)
        assert p.stdout.readline() == "up\n"
        code, found, said = doctor(podspy, "-p", p.pid, prefix=as_user(65534))
        assert code == 1 and found["dumpable"][0] == "NO" and "sudo podspy" in found["dumpable"][1], said
        code, found, said = doctor(podspy, "-p", p.pid)
        assert code == 0 and found["dumpable"][0] == "ok", said

    def test_doctor_reads_only_what_it_may_and_leaves_the_process_running(self, podspy, python):
        p = python()
        doctor(podspy, "-p", p.pid)
        assert p.poll() is None
        with open(f"/proc/{p.pid}/stat") as f:
            assert f.read().rpartition(")")[2].split()[0] == "S"


def as_user(uid):
    return ("setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups")


# --- without a process ---

def config(path, **parts):
    text = {"collector": "{}", "discovery": "{kubernetes: off, docker: off}",
            "push": f"{{spool_dir: {path / 'spool'}}}", **parts}
    (path / "agent.yaml").write_text("".join(f"{k}: {v}\n" for k, v in text.items()))
    return "--config", path / "agent.yaml"


def test_the_agents_environment_is_checked(podspy, tmp_path):
    code, found, said = doctor(podspy, *config(tmp_path))
    assert list(found) == ["/proc", "PID namespace", "capability", "Yama", "system call", "pausing", "sampling thread",
                           "configuration", "Docker", "Kubernetes", "collector", "spool"], said
    assert found["sampling thread"][0] in ("ok", "note") and "the sampling thread" in found["sampling thread"][1], said
    assert found["configuration"][0] == found["spool"][0] == found["system call"][0] == "ok", said
    assert not (tmp_path / "spool").exists()  # it makes nothing


def test_a_wrong_configuration_ends_the_doctor(podspy, tmp_path):
    code, found, said = doctor(podspy, *config(tmp_path, nonsense="1"))
    assert code == 1 and list(found)[-1] == "configuration" and "agent.yaml:4" in said


def test_a_docker_daemon_that_does_not_answer_is_reported(podspy, tmp_path):
    code, found, said = doctor(podspy, *config(
        tmp_path, discovery=f"{{kubernetes: off, docker: on, docker_socket: {tmp_path}/no.sock}}"))
    assert code == 1 and found["Docker"][0] == "NO", said
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "yes.sock"))
        s.listen()
        _, found, said = doctor(podspy, *config(
            tmp_path, discovery=f"{{kubernetes: off, docker: on, docker_socket: {tmp_path}/yes.sock}}"))
    assert found["Docker"][0] == "ok", said


def test_an_unwritable_spool_is_reported(podspy, tmp_path):
    (tmp_path / "file").write_text("")
    code, found, said = doctor(podspy, *config(tmp_path, push=f"{{spool_dir: {tmp_path}/file/spool}}"))
    assert code == 1 and found["spool"][0] == "NO", said


@pytest.fixture
def api():
    """Answers what may be asked of a Kubernetes API: may["list pods"] and the like."""
    may = {"list pods": True, "watch pods": True, "create events": True, "status": 201}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            import json
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["spec"]["resourceAttributes"]
            body = json.dumps({"status": {"allowed": may[f"{asked['verb']} {asked['resource']}"]}}).encode()
            self.send_response(may["status"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    may["url"] = f"http://127.0.0.1:{server.server_port}"
    yield may
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("change, word, words", [
    ({}, "ok", "watch pods: yes"),
    ({"watch pods": False}, "NO", "kubectl apply -f deploy/k8s/10-access.yaml"),
    ({"create events": False}, "note", "create events: no"),
    ({"status": 401}, "NO", "the token is refused"),
])
def test_the_rights_of_the_kubernetes_account_are_listed(podspy, tmp_path, api, change, word, words):
    api.update(change)
    code, found, said = doctor(podspy, *config(
        tmp_path, discovery=f"{{kubernetes: on, docker: off, kubernetes_url: '{api['url']}'}}"),
        env={**os.environ, "NODE_NAME": "n1"})
    assert found["Kubernetes"][0] == word and words in found["Kubernetes"][1], said


def test_the_collectors_refusal_is_reported(podspy, podspy_collector, tmp_path):
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "collector"))
    from collector import Collector
    c = Collector(podspy_collector, tmp_path / "data")
    try:
        ca, token = c.ca, tmp_path / "data" / "ingest.token"
        url = c.url("")

        def asked(**more):
            keys = {"url": url, "ca_file": ca, "token_file": token, **more}
            return doctor(podspy, *config(tmp_path, collector="{" + ", ".join(
                f"{k}: '{v}'" for k, v in keys.items() if v) + "}"))

        code, found, said = asked()
        assert found["collector"][0] == "ok", said
        assert c.get_plain("/pods").json()["pods"] == []  # it stored nothing
        _, found, said = asked(token_file=None)
        assert found["collector"][0] == "NO" and "token_file" in found["collector"][1], said
        _, found, said = asked(ca_file=None)
        assert found["collector"][0] == "NO" and "ca_file" in found["collector"][1], said
    finally:
        c.stop()
    code, found, said = asked()
    assert code == 1 and found["collector"][0] == "NO" and "does the collector run" in said


def test_wrong_options_are_usage_errors(podspy):
    for args in (["-p", "x"], ["-p", "1", "--config", "f"], ["1"]):
        assert doctor(podspy, *args)[0] == 2
