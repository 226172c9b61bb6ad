"""The service runs under runc in a root, a cgroup and namespaces of its own; the agent outside it."""

import os
import pathlib
import secrets
import shutil

import parts
import pytest
import runc

DEMO = runc.REPO / "deploy" / "docker" / "demo"
BIND = "127.0.0.1:8000"  # in the container's own network
# As engines name them: the folder whose name holds the id, and the parent that is ours to remove.
CGROUPS = {
    "docker": "/podspy-test-docker/{id}",
    "containerd": "/podspy-test-containerd/cri-containerd-{id}.scope",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A Debian root with gunicorn and the demo service in it."""
    if why := runc.why_not():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("root")
    folder.chmod(0o755)  # the container's user walks through it
    path = runc.unpack(runc.debian_root("bookworm-gunicorn", "gunicorn"), folder / "root")
    shutil.copytree(DEMO, path / "srv" / "demo", ignore=shutil.ignore_patterns("__pycache__"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def service(request, tmp_path, root):
    engine = request.param
    ident = secrets.token_hex(32)
    cgroup = CGROUPS[engine].format(id=ident)
    container = runc.Container(tmp_path / "container", root, ident, cgroup,
                               ["gunicorn", "--config", "gunicorn.conf.py", "shop:app"],
                               env=[f"DEMO_BIND={BIND}", "PYTHONDONTWRITEBYTECODE=1"])
    with runc.cgroup_parent(cgroup.split("/")[1]), container:
        with container.exec(tmp_path / "load.log", "python3", "load.py", "--rate", "50",
                            f"http://{BIND}"):
            container.cgroup = cgroup
            yield container


def _workers(container):
    found = parts.wait_until(lambda: "two workers: " + container.log.read_text(),
                             lambda: len(parts.children(container.pid)) == 2
                             and parts.children(container.pid))
    return sorted(found)


def _in_its_own(pid, *kinds):
    return all(os.readlink(f"/proc/{pid}/ns/{k}") != os.readlink(f"/proc/self/ns/{k}")
               for k in kinds)


def _ns_pid(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    raise AssertionError("no NSpid")


@pytest.mark.parametrize("service", CGROUPS, indirect=True)
def test_stacks_of_a_container_bear_its_id_and_both_pids(tmp_path, podspy, podspy_collector,
                                                         service):
    workers = _workers(service)
    assert all(_in_its_own(pid, "pid", "mnt", "net") for pid in workers)
    rules = f'[{{name: boxed, cgroup: "*{service.id}*", cmdline: "gunicorn"}}]'
    with parts.Collector(podspy_collector, tmp_path / "collector") as collector, \
            parts.Agent(podspy, tmp_path / "agent", collector, rules) as agent:
        for pid in workers:
            parts.wait_until(
                lambda: f"{pid} at work: {agent.log[-2000:]}",
                lambda: any("edit_distance (" in s for s in collector.stacks(pid=pid)), 40, 0.5)
        listed = {p["pid"]: p for p in collector.processes(pod="boxed")}
        assert set(workers) <= set(listed)
        for pid in workers:
            assert listed[pid]["container_id"] == service.id
            assert listed[pid]["ns_pid"] == _ns_pid(pid) != pid
            assert listed[pid]["parent_pid"] == service.pid
            assert listed[pid]["python_version"].startswith("3.11")
        # By the container's id, as the labels have it, the workers' own functions come back.
        answer = collector.profile(container=service.id, processes=1, format="svg")
        assert answer.ok
        assert all(f"({pid})" in answer.text for pid in workers)
        for function in ("edit_distance", "sign_receipt", "handle_checkout"):
            parts.wait_until(f"{function} at work", lambda: any(
                f"{function} (" in s for s in collector.stacks(container=service.id)))
        stacks = collector.stacks(container=service.id)
        # The rule asked for gunicorn: the customers in the same cgroup were left alone.
        assert not any("load.py" in s for s in stacks)
