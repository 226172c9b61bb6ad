"""Why a process cannot be read is named with what changes it: the same reason by dump, record, the
agent and doctor, and no two lines that contradict each other. Each situation is the real one, made
by the kernel; what this machine's kernel does not have is skipped by its name."""

import contextlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

import machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changes users, capabilities and mounts")

WHY = machine.why_no_foreign_reads()
needs_trace = pytest.mark.skipif(WHY is not None, reason=str(WHY))
CONFINE = pathlib.Path(__file__).with_name("confine.py")
PYTHON = os.path.realpath("/usr/bin/python3")
NAP = "import time\nprint('up', flush=True)\ntime.sleep(120)"
USER, OTHER = 65534, 65533
CALLS = {"x86_64": {"process_vm_readv": 310, "ptrace": 101},
         "aarch64": {"process_vm_readv": 270, "ptrace": 117}}.get(platform.machine(), {})
EPERM, ENOSYS = 1, 38
YAMA = pathlib.Path("/proc/sys/kernel/yama/ptrace_scope")


def as_user(uid, gid=None, *more):
    return ("setpriv", f"--reuid={uid}", f"--regid={uid if gid is None else gid}", "--clear-groups", *more)


def without_trace(*more):
    return ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", *more)


# LeakSanitizer itself needs /proc and ptrace: where a test takes those away it is off.
NO_LEAKS = ("env", f"ASAN_OPTIONS={os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=0")


def without_sanitizer(text):
    return re.sub(r"^==\d+==.*\n", "", text, flags=re.M)


def in_mounts(*commands):
    """The prefix that runs a program in a new mount namespace, after these commands."""
    return ("unshare", "-m", "sh", "-c", " && ".join([*commands, 'exec "$@"']), "sh")


@pytest.fixture(scope="module")
def place(podspy):
    """A folder that every user may enter, with podspy and what confines in it."""
    with tempfile.TemporaryDirectory(prefix="podspy-reasons-") as folder:
        os.chmod(folder, 0o755)
        for file, name in ((podspy, "podspy"), (CONFINE, "confine.py")):
            shutil.copy(file, os.path.join(folder, name))
            os.chmod(os.path.join(folder, name), 0o755)
        yield pathlib.Path(folder)


@pytest.fixture
def start():
    """Starts a target, and ends it: start(prefix..., code=, program=) returns it once it is up."""
    with contextlib.ExitStack() as running:
        def start(*prefix, argv=(PYTHON, "-c", NAP), before=None):
            p = subprocess.Popen([*prefix, *map(str, argv)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
            running.callback(end, p)
            if before:
                before(p)
            line = p.stdout.readline()
            if line != "up\n":
                p.wait(10)
                pytest.skip(f"{' '.join(map(str, prefix))}: {line}{p.stderr.read()}")
            return p
        yield start


def end(p):
    p.kill()
    p.wait()
    for stream in (p.stdin, p.stdout, p.stderr):
        stream.close()


def confined(place, how, *numbers):
    return (PYTHON, place / "confine.py", how, *map(str, numbers), "--")


class Told:
    """What dump, record and doctor say of a process."""

    def __init__(self, place, prefix, pid):
        def run(*args):
            r = subprocess.run([*map(str, prefix), str(place / "podspy"), *map(str, args)], capture_output=True,
                               text=True, timeout=60)
            if r.returncode == 77 or "confine:" in r.stderr or "unshare:" in r.stderr or "mount:" in r.stderr:
                pytest.skip(r.stderr.strip())
            r.stderr = without_sanitizer(r.stderr)
            return r
        self.dump = run("dump", "-p", pid)
        self.record = run("record", "-d", "1", "-p", pid, "-o", "/dev/null", "-f", "raw")
        self.doctor = run("doctor", "-p", pid)
        self.lines = re.findall(r"^(ok|note|NO) +([\w/ ]+): (.*)(?:\n     -> (.*))?$", self.doctor.stdout, re.M)

    def of(self, name):
        return next((word, text) for word, row, text, _ in self.lines if row == name)


def the_reason(place, prefix, pid, row, *words):
    """All three give the same reason, which doctor has in this row; returns what was printed."""
    told = Told(place, prefix, pid)
    said = told.dump.stderr + told.record.stderr + told.doctor.stdout
    assert told.dump.returncode == told.record.returncode == told.doctor.returncode == 1, said
    assert told.dump.stdout == "" and told.dump.stderr.startswith("Error: ") and told.dump.stderr.count("\n") == 1
    assert told.dump.stderr == told.record.stderr, said
    refused = [(name, text, cure) for word, name, text, cure in told.lines if word == "NO"]
    assert [name for name, _, _ in refused] == [row], said
    _, text, cure = refused[0]
    reason = text.split(": ", 1)[1] if row == "process" and text.startswith("process ") else text
    assert reason in told.dump.stderr and cure in told.dump.stderr, said
    for word in words:
        assert word in told.dump.stderr, (word, said)
    assert "Python" not in [name for _, name, _, _ in told.lines], said  # what follows a NO is not asked
    return told


def check_let_in(place, prefix, pid):
    told = Told(place, prefix, pid)
    said = told.dump.stderr + told.doctor.stdout + told.doctor.stderr
    assert told.dump.returncode == told.doctor.returncode == 0, said
    assert not [line for line in told.lines if line[0] == "NO"], said
    return told


# --- users and capabilities ---

@needs_trace
def test_another_users_process_is_explained(place, start):
    told = the_reason(place, as_user(USER), start(*as_user(OTHER)).pid, "user",
                      f"it runs as user {OTHER}, podspy as user {USER} without CAP_SYS_PTRACE",
                      "run as root (sudo podspy ...) or as that user")
    assert "dumpable" in [name for _, name, _, _ in told.lines]


@needs_trace
def test_sudo_is_advised_for_a_process_of_root(place, start):
    # Root's process has capabilities, so that "as that user" would not do without them.
    told = the_reason(place, as_user(USER), start().pid, "user", "it runs as user 0", "sudo podspy")
    assert "as that user" not in told.dump.stderr
    assert told.of("dumpable")[0] == "note"  # nobody can tell: it must not say yes


@needs_trace
def test_another_group_is_explained(place, start):
    the_reason(place, as_user(USER), start(*as_user(USER, OTHER)).pid, "user", f"it runs as group {OTHER}",
               "or as that group")


@needs_trace
def test_sudo_is_not_advised_where_it_cannot_work(place, start):
    pid = start(*as_user(OTHER)).pid
    told = the_reason(place, as_user(USER, None, "--no-new-privs"), pid, "user", "no_new_privs")
    assert "sudo podspy" not in told.dump.stderr
    told = the_reason(place, as_user(USER, None, "--bounding-set=-sys_ptrace"), pid, "user",
                      "docker: --user 0 --cap-add SYS_PTRACE", "runAsUser: 0", "capabilities.add: [SYS_PTRACE]")
    assert "sudo" not in told.dump.stderr


def test_root_without_cap_sys_ptrace_is_explained(place, start):
    the_reason(place, without_trace(), start(*as_user(OTHER)).pid, "user",
               f"it runs as user {OTHER}, podspy as user 0 without CAP_SYS_PTRACE", "docker: --cap-add SYS_PTRACE",
               "Kubernetes: securityContext.capabilities.add: [SYS_PTRACE]")


@needs_trace
def test_root_without_cap_sys_ptrace_cannot_read_root_with_it(place, start):
    the_reason(place, without_trace(), start().pid, "capabilities", "it has capabilities that podspy lacks",
               "CAP_SYS_PTRACE", "--cap-add SYS_PTRACE")
    check_let_in(place, without_trace(), start(*without_trace()).pid)


@needs_trace
def test_capabilities_of_the_executable_are_explained(place, start):
    python = place / "python-with-capabilities"
    shutil.copy(PYTHON, python)
    python.chmod(0o755)
    if not shutil.which("setcap") or subprocess.run(["setcap", "cap_net_bind_service=ep", python]).returncode:
        pytest.skip("setcap: this file system takes no capabilities of files")
    pid = start(*as_user(USER), argv=(python, "-c", NAP)).pid
    told = the_reason(place, as_user(USER), pid, "capabilities",
                      "it has capabilities that podspy lacks: CAP_NET_BIND_SERVICE", "sudo podspy")
    assert told.of("user") == ("ok", f"it runs as user {USER}, as podspy does")
    assert "as its user" not in told.dump.stderr and not told.of("dumpable")[1].startswith("yes")
    check_let_in(place, (), pid)


@needs_trace
def test_a_process_that_is_not_dumpable_is_explained(place, start):
    pid = start(*as_user(USER), *confined(place, "undumpable"), argv=(NAP,)).pid
    the_reason(place, as_user(USER), pid, "dumpable", "PR_SET_DUMPABLE", "sudo podspy")
    assert check_let_in(place, (), pid).of("dumpable") == ("ok", "no, which CAP_SYS_PTRACE overrides")


def test_a_process_that_can_be_read_is_known_to_be_dumpable(place, start):
    told = check_let_in(place, as_user(USER), start(*as_user(USER)).pid)
    assert told.of("dumpable")[1].startswith("yes")


# --- user namespaces ---

def test_root_of_a_user_namespace_cannot_read_a_process_outside(place, start):
    for target in ((), as_user(OTHER)):
        told = the_reason(place, ("unshare", "-Ur"), start(*target).pid, "user namespace",
                          "podspy has CAP_SYS_PTRACE in its own user namespace only", "docker: --userns=host",
                          "Kubernetes: hostUsers: true")
        word, text = told.of("user")
        assert word == "note" and text.endswith("podspy has CAP_SYS_PTRACE in its own user namespace only")
        assert "without CAP_SYS_PTRACE" not in told.doctor.stdout + told.dump.stderr


def test_a_user_of_a_user_namespace_cannot_read_a_process_outside(place, start):
    # It keeps no capability: none of that namespace's users would be let in.
    told = the_reason(place, ("unshare", "-Ur", "setpriv", "--inh-caps=-all", "--bounding-set=-all"),
                      start(*as_user(OTHER)).pid, "user namespace", "docker: --userns=host")
    assert "sudo" not in told.dump.stderr


def test_root_of_a_user_namespace_can_read_a_process_in_it(place, start):
    inner = [str(place / "podspy"), "doctor", "-p", "$p"]
    code = f'{PYTHON} -c "import time; time.sleep(60)" & p=$!; sleep 1; {" ".join(inner)}; r=$?; kill $p; exit $r'
    r = subprocess.run(["unshare", "-Ur", "sh", "-c", code], capture_output=True, text=True, timeout=60)
    if "unshare:" in r.stderr:
        pytest.skip(r.stderr.strip())
    assert r.returncode == 0 and "podspy has CAP_SYS_PTRACE in its own user namespace\n" in r.stdout, r.stdout


def test_the_same_user_in_another_user_namespace_is_explained(place, start):
    def become_user(p):
        line = p.stdout.readline()
        if line != "apart\n":
            pytest.skip(f"no user namespaces: {p.stderr.read()}")
        for name in ("uid_map", "gid_map"):
            pathlib.Path(f"/proc/{p.pid}/{name}").write_text(f"0 {USER} 1\n")
        p.stdin.write("go\n")
        p.stdin.flush()
    pid = start(*confined(place, "userns"), before=become_user).pid
    the_reason(place, as_user(USER), pid, "user namespace", "it is in another user namespace than podspy",
               "sudo podspy")
    check_let_in(place, (), pid)


# --- /proc ---

@pytest.mark.parametrize("hidepid, name", [(1, "noaccess, 1"), (2, "invisible, 2"), (4, "ptraceable, 4")])
def test_proc_with_hidepid_is_explained(place, start, hidepid, name):
    mounted = in_mounts(f"mount -t proc -o hidepid={hidepid} proc /proc")
    theirs, own = start(*as_user(OTHER)).pid, start(*as_user(USER)).pid
    prefix = (*mounted, *as_user(USER))
    the_reason(place, prefix, theirs, "process", "it exists", f"hidepid={name}",
               "mount -o remount,hidepid=0 /proc")
    check_let_in(place, prefix, own)
    check_let_in(place, mounted, theirs)  # CAP_SYS_PTRACE sees all
    told = Told(place, prefix, 2**22 - 1)
    assert told.dump.stderr == f"Error: there is no process {2**22 - 1}\n"


def test_the_group_that_hidepid_exempts_sees_all(place, start):
    prefix = (*in_mounts(f"mount -t proc -o hidepid=2,gid={OTHER} proc /proc"), *as_user(USER, OTHER))
    the_reason(place, prefix, start(*as_user(OTHER)).pid, "user", f"it runs as user {OTHER}")


@pytest.mark.parametrize("commands, words", [
    (["umount -l /proc"], "/proc is not mounted"),
    (["mount -t tmpfs none /proc"], "is not a proc file system"),
])
def test_a_missing_proc_is_explained(place, start, commands, words):
    the_reason(place, (*NO_LEAKS, *in_mounts(*commands)), start().pid, "process", words, "mount -t proc proc /proc")


def test_the_proc_of_another_pid_namespace_is_explained(place, start):
    # Its numbers are other processes here: podspy must not read the one that has the number here.
    the_reason(place, ("unshare", "-pf"), start().pid, "process", "another PID namespace", "mount -t proc proc /proc")
    the_reason(place, ("unshare", "-pf"), 1, "process", "another PID namespace")


# --- processes that have nothing to read ---

def test_a_kernel_thread_is_explained(place):
    try:
        assert pathlib.Path("/proc/2/comm").read_text() == "kthreadd\n"
    except (OSError, AssertionError):
        pytest.skip("a PID namespace without threads of the kernel")
    for prefix in ((), as_user(USER)):
        told = Told(place, prefix, 2)
        assert "it is a kernel thread" in told.dump.stderr
        assert told.of("process")[0] == "NO" and "it is a kernel thread" in told.of("process")[1]


def test_a_zombie_is_explained(place):
    p = subprocess.Popen(["true"])
    os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)
    try:
        for prefix in ((), as_user(USER)):
            told = Told(place, prefix, p.pid)
            assert "it has ended" in told.dump.stderr and "a zombie" in told.dump.stderr
            assert told.of("process")[0] == "NO" and "a zombie" in told.of("process")[1]
    finally:
        p.wait()


# --- filters and security modules ---

@pytest.mark.skipif(not CALLS, reason="the numbers of the system calls are not known here")
class TestFilters:
    @pytest.mark.parametrize("error", [EPERM, ENOSYS])
    def test_a_forbidden_process_vm_readv_is_explained(self, place, start, error):
        prefix = confined(place, "filter", CALLS["process_vm_readv"], error)
        for user in ((), as_user(USER)):
            told = check_let_in(place, (*user, *prefix), start(*user).pid)
            assert told.of("system call") == ("ok", "process_vm_readv is forbidden, reading /proc/PID/mem is not")
        the_reason(place, (*as_user(USER), *prefix), start(*as_user(OTHER)).pid, "user",
                   f"it runs as user {OTHER}, podspy as user {USER} without CAP_SYS_PTRACE")

    def test_a_forbidden_ptrace_is_explained(self, place, start):
        told = check_let_in(place, (*NO_LEAKS, *confined(place, "filter", CALLS["ptrace"], EPERM)), start().pid)
        assert told.of("pausing")[0] == "note" and "seccompProfile" in told.doctor.stdout
        assert told.of("native frames")[0] == "note" and 'see the line "pausing"' in told.doctor.stdout

    def test_proc_mem_is_named_as_the_fallback(self, place):
        r = subprocess.run([*map(str, confined(place, "filter", CALLS["process_vm_readv"], EPERM)),
                            place / "podspy", "doctor"], capture_output=True, text=True, timeout=60)
        assert "ok   system call: process_vm_readv is forbidden: /proc/PID/mem is read instead, one call for each piece" in r.stdout


def test_a_debugger_is_named(place, start):
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    target = start()
    tracer = subprocess.Popen(["strace", "-o", "/dev/null", "-p", str(target.pid)], stderr=subprocess.DEVNULL)
    try:
        status = pathlib.Path(f"/proc/{target.pid}/status")
        until = time.monotonic() + 10
        while f"TracerPid:\t{tracer.pid}" not in status.read_text() and time.monotonic() < until:
            time.sleep(0.02)
        told = check_let_in(place, (), target.pid)
        assert told.of("pausing") == ("note", f"process {tracer.pid} traces it: stacks that change while they are "
                                              "read are shown in part")
    finally:
        tracer.terminate()
        tracer.wait()


def test_a_landlock_sandbox_is_explained(place, start):
    the_reason(place, confined(place, "landlock"), start().pid, "security module", "Landlock")


def test_yama_is_explained(place, start):
    if not YAMA.exists() or YAMA.read_text().strip() == "0":
        pytest.skip("the kernel has no Yama, or kernel.yama.ptrace_scope is 0")
    the_reason(place, as_user(USER), start(*as_user(USER)).pid, "Yama",
               f"kernel.yama.ptrace_scope is {YAMA.read_text().strip()}")


# --- the agent ---

def configuration(place, collector):
    spool = pathlib.Path(tempfile.mkdtemp(prefix="spool-", dir=place))
    spool.chmod(0o777)
    keys = {"url": "https://127.0.0.1:9"}
    if collector:
        for name, file in (("ca_file", collector.ca), ("token_file", collector.data / "ingest.token")):
            keys[name] = spool / name
            shutil.copy(file, keys[name])
            keys[name].chmod(0o644)
        keys["url"] = collector.url("")
    (spool / "agent.yaml").write_text(
        "collector: {" + ", ".join(f"{k}: '{v}'" for k, v in keys.items()) + "}\n"
        "discovery:\n  kubernetes: off\n  docker: off\n  processes:\n    - {name: nap, cmdline: 'time.sleep.120'}\n"
        f"push: {{spool_dir: {spool}/s, interval: 1s}}\n")
    return spool / "agent.yaml"


def agent(place, prefix, seconds=0, collector=None):
    """The agent's exit code and its log of the first seconds."""
    p = subprocess.Popen([*map(str, prefix), str(place / "podspy"), "agent", "--config",
                          str(configuration(place, collector))], stderr=subprocess.PIPE, text=True)
    try:
        log = ""
        while "podspy agent started" not in log and (line := p.stderr.readline()):
            log += line
        time.sleep(seconds)
        p.terminate()
        log += p.stderr.read()
        if "unshare:" in log or "mount:" in log:
            pytest.skip(log.strip())
        return p.wait(30), without_sanitizer(log)
    finally:
        p.kill()
        p.wait()
        p.stderr.close()


HIDDEN = in_mounts("mount -t proc -o hidepid=2 proc /proc")


@needs_trace
@pytest.mark.parametrize("prefix, words", [
    (as_user(USER), (f"user {USER} without CAP_SYS_PTRACE", "sudo podspy")),
    (without_trace(), ("user 0 without CAP_SYS_PTRACE", "--cap-add SYS_PTRACE")),
    ((*HIDDEN, *as_user(USER)), ("/proc hides other users' processes (hidepid=invisible, 2)", "hidepid=0")),
    (("unshare", "-Ur"), ("CAP_SYS_PTRACE holds in podspy's own user namespace only", "hostUsers: true")),
])
def test_the_agent_logs_at_its_start_what_it_will_not_see(place, prefix, words):
    code, log = agent(place, prefix)
    line = next(line for line in log.splitlines() if words[0] in line)
    assert code == 0 and "level=error" in line and words[1] in line, log


@needs_trace
def test_an_agent_that_sees_all_logs_nothing(place):
    for prefix in ((), HIDDEN):
        code, log = agent(place, prefix)
        assert code == 0 and "level=error" not in log, log


def test_an_agent_without_proc_does_not_start(place):
    code, log = agent(place, (*NO_LEAKS, *in_mounts("umount -l /proc")))
    assert code == 1 and log.startswith("Error: the agent sees no processes: /proc is not mounted"), log
    assert "mount -t proc proc /proc" in log


def test_the_agent_reports_the_same_reason_as_dump(place, podspy_collector, start, tmp_path):
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "collector"))
    from collector import Collector
    pid = start(*as_user(USER), *confined(place, "undumpable"), argv=(NAP,)).pid
    said = the_reason(place, as_user(USER), pid, "dumpable").dump.stderr
    c = Collector(podspy_collector, tmp_path / "data")
    try:
        code, log = agent(place, as_user(USER), 3, c)
        assert code == 0, log
        text = c.get_plain("/pods").text
        assert said.removeprefix("Error: ").strip() in text, (said, text)
        assert f"user {USER} without CAP_SYS_PTRACE" in text  # of the node
    finally:
        c.stop()


# --- doctor, of the place ---

@needs_trace
@pytest.mark.parametrize("prefix, row, word, words", [
    (as_user(USER), "capability", "note", "sudo podspy"),
    (without_trace(), "capability", "NO", "--cap-add SYS_PTRACE"),
    (("unshare", "-Ur"), "capability", "note", "hostUsers: true"),
    ((*in_mounts("mount -t proc -o hidepid=2 proc /proc"), *as_user(USER)), "/proc", "NO", "hidepid=0"),
    ((*NO_LEAKS, *in_mounts("umount -l /proc")), "/proc", "NO", "mount -t proc proc /proc"),
    (in_mounts("mount -t proc -o hidepid=2 proc /proc"), "/proc", "ok", ""),
])
def test_missing_rights_of_an_agents_environment_are_listed(place, prefix, row, word, words):
    r = subprocess.run([*prefix, place / "podspy", "doctor"], capture_output=True, text=True, timeout=60)
    if "unshare:" in r.stderr or "mount:" in r.stderr:
        pytest.skip(r.stderr.strip())
    found = re.search(rf"^{word} +{row}: .*(?:\n     -> .*)?", r.stdout, re.M)
    assert found and words in found[0], r.stdout
    assert (r.returncode == 1) == bool(re.search("^NO", r.stdout, re.M))
