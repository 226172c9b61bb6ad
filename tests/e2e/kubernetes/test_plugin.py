"""kubectl podspy, as kubectl finds it, against the cluster."""

import os
import re
import signal
import subprocess
import time
import urllib.request
import xml.etree.ElementTree

import pytest
from cluster import apply, kubectl

import install
import machine
import parts
from install import SHOP, SPACE

PLUGIN = install.REPO / "deploy" / "k8s"


@pytest.fixture(scope="module")
def pods(installed):
    """The names of an annotated pod with data, of one without the annotation, and of one with a wrong one."""
    apply(*install.service("shop", 1, {"podspy.dev/profile": "true"}), *install.service("plain", 1),
          *install.service("wrong", 1, {"podspy.dev/profile": "yes"}))
    for name in ("shop", "plain", "wrong"):
        parts.wait_until(install.why(SHOP), lambda: install.ready(SHOP, f"app={name}"), 60, 0.5)
    names = {name: install.names(SHOP, f"app={name}")[0] for name in ("shop", "plain", "wrong")}
    for name in names.values():
        parts.wait_until(lambda: installed.forward.processes(),
                         lambda: installed.forward.processes(pod=name), 45, 0.5)
    parts.wait_until("samples", lambda: installed.forward.stacks(pod=names["shop"], include="pack_parcel"), 45, 0.5)
    return names


def podspy(*args, cwd=None):
    return subprocess.run(["kubectl", "podspy", *args], capture_output=True, text=True, timeout=120, cwd=cwd,
                          env={**os.environ, "PATH": f"{PLUGIN}:{os.environ['PATH']}", "DISPLAY": ""})


def test_flame_writes_the_flamegraph_and_says_where(pods, tmp_path):
    done = podspy("flame", pods["shop"], "-n", SHOP, "-o", str(tmp_path / "shop.svg"), "--since", "5m")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "shop.svg")
    svg = (tmp_path / "shop.svg").read_text()
    xml.etree.ElementTree.fromstring(svg)
    assert "pack_parcel" in svg and "price_order" in svg
    done = podspy("flame", "shop-*", "-n", SHOP, "-o", "-", "--format", "collapsed")
    assert "pack_parcel" in done.stdout
    done = podspy("flame", pods["shop"], "-n", SHOP)  # in the folder for temporary files, and named
    path = done.stdout.strip()
    assert path.endswith(".svg") and os.path.getsize(path) > 1000
    os.unlink(path)


def shown_by_top(pod):
    """{function: (own, total)} in per cent of the last minute."""
    time.sleep(15)  # a window or more since the last time
    done = podspy("top", pod, "-n", SHOP, "--since", "1m", "--rows", "1000")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ *([\d.]+)% +([\d.]+)%  (.+)$", done.stdout, re.M)
    of = {name.partition(" ")[0]: (float(own), float(total)) for own, total, name in rows}
    assert all(own <= total <= 100 for own, total in of.values())
    assert abs(sum(own for own, _ in of.values()) - 100) < 2
    return {name: total for name, (_, total) in of.items()}


def test_top_lists_the_functions_that_took_the_time(pods):
    # All the work goes through spend. Measured: beside it there is what waits for a CPU on a busy machine.
    machine.measured("total of each function", lambda: shown_by_top(pods["shop"]), lambda of: of.get("spend", 0) > 50)


def test_list_shows_every_pod_and_why_it_is_empty(pods):
    done = podspy("list", "-n", SHOP)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines()[1:]}
    assert set(pods.values()) <= set(lines)
    assert "not annotated" in lines[pods["plain"]] and "not annotated" not in lines[pods["shop"]]
    assert "podspy.dev/profile" in lines[pods["wrong"]]


@pytest.mark.parametrize("which, code, words", [
    ("shop", 0, ["it is annotated", "it is Running on node", "an agent is ready", "samples in"]),
    ("plain", 1, ["it is not annotated: kubectl annotate --overwrite pod -n", "the agent says: not annotated"]),
    ("wrong", 1, ['podspy.dev/profile: "yes", which is not "true"', "the agent says: podspy.dev/profile is"])])
def test_explain_says_why_a_pod_has_data_or_not(pods, which, code, words):
    done = podspy("explain", pods[which], "-n", SHOP)
    assert done.returncode == code, done.stdout + done.stderr
    for said in words:
        assert said in done.stdout
    assert ("NO " in done.stdout) == bool(code)


def test_explain_reports_a_missing_agent(installed, pods):
    kubectl("patch", "daemonset", "podspy-agent", "-n", SPACE, "-p",
            '{"spec":{"template":{"spec":{"nodeSelector":{"nowhere":"true"}}}}}')
    try:
        parts.wait_until(install.why(SPACE), lambda: not install.pods(SPACE, install.AGENT), 60, 0.5)
        done = podspy("explain", pods["shop"], "-n", SHOP)
        assert done.returncode == 1
        assert "NO  no agent runs on node" in done.stdout
    finally:
        kubectl("patch", "daemonset", "podspy-agent", "-n", SPACE, "--type=json", "-p",
                '[{"op":"remove","path":"/spec/template/spec/nodeSelector"}]')
        parts.wait_until(install.why(SPACE), lambda: install.ready(SPACE, install.AGENT), 90, 0.5)


def test_web_prints_the_pages_address_and_serves_it(pods):
    # A process in the background of a shell ignores SIGINT unless it takes it itself.
    with subprocess.Popen(["kubectl", "podspy", "web", pods["shop"], "-n", SHOP], text=True, stdout=subprocess.PIPE,
                          env={**os.environ, "PATH": f"{PLUGIN}:{os.environ['PATH']}", "DISPLAY": ""},
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) as web:
        try:
            origin, _, place = web.stdout.readline().partition("#")
            assert place.startswith("/profile?") and pods["shop"] in place
            assert "<title>podspy</title>" in urllib.request.urlopen(origin, timeout=30).read().decode()
            web.send_signal(signal.SIGINT)
            assert web.wait(30) == 0
        finally:
            web.kill()


def test_errors_are_one_line():
    for args, code, words in [
            (("flame", "no-such-pod", "-n", SHOP), 1, "there are"),
            (("top", "shop", "-n", SHOP, "--podspy-namespace", "nowhere"), 1, "no way to the collector"),
            (("flame", "x", "--since", "soon"), 2, "not a duration"),
            (("flame",), 2, "POD"),
            (("list", "--context", "no-such-context"), 1, "Error: ")]:
        done = podspy(*args)
        assert done.returncode == code, (args, done.stdout, done.stderr)
        assert words in done.stderr and "Traceback" not in done.stderr
        if code == 1:
            assert len(done.stderr.strip().splitlines()) == 1


def test_no_port_forward_is_left_behind(pods):
    ps = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    orphans = [line for line in ps.splitlines() if "port-forward" in line and "podspy-collector" in line
               and line.split()[0] == "1"]
    assert not orphans
