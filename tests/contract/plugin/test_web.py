"""`kubectl podspy web`: a real collector's page through a forwarded port; kubectl is a double."""

import os
import pathlib
import signal
import sys
import urllib.parse

import pytest
import requests
from test_live import Cluster

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "collector"))

from collector import Collector, usual_batch  # noqa: E402


@pytest.fixture
def cluster(tmp_path, repo_dir, podspy, podspy_collector):
    c = Collector(podspy_collector, tmp_path / "data")
    assert c.push(usual_batch().bytes()).status_code == 200
    it = Cluster(tmp_path, repo_dir, podspy)
    it.world["collector"] = c.http
    yield it
    assert c.stop() == 0


def children_of(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize("args, view", [
    (["demo"], "#/profile?namespace=shop&from=-15m&pod=demo"),
    (["d*", "--since", "2h"], "#/profile?namespace=shop&from=-2h&pod=d*"), ([], "#/pods?from=-15m")])
def test_it_prints_the_pages_address_and_serves_it_until_control_c(cluster, args, view):
    process = cluster.begin("web", *args)
    address = process.stdout.readline().strip()
    assert urllib.parse.unquote(address).endswith(view)
    for _ in range(200):  # each writes a line into kubectl's output
        page = requests.get(address.partition("#")[0], timeout=30)
    assert page.status_code == 200 and "<title>podspy</title>" in page.text
    assert requests.get(address.partition("#")[0] + "pods?pod=demo", timeout=30).json()["pods"]
    [kubectl] = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
    assert not os.path.exists(f"/proc/{kubectl}")


def test_a_pod_without_data_is_said(cluster):
    done = cluster.run("web", "no-such-pod")
    assert done.returncode == 1 and "nothing matches namespace=shop, pod=no-such-pod" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_end_of_kubectl_is_said(cluster):
    process = cluster.begin("web", "demo")
    process.stdout.readline()
    os.kill(int(children_of(process.pid)[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "start this command again" in err
