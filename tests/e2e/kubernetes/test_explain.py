"""Why a pod is empty: a real agent on this host reports it to a real collector, whose /pods answers."""

import base64
import json
import os

import pytest
from cluster import NS, PREFIX, apply, kubectl, pod, server, spec, token_of, wait_running

import parts


@pytest.fixture
def collector(discover_namespace, podspy_collector, tmp_path):
    with parts.Collector(podspy_collector, tmp_path / "collector") as c:
        yield c


@pytest.fixture
def agent(collector, podspy, tmp_path):
    host, port, config = server()
    (tmp_path / "token").write_text(token_of("agent"))
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(config["certificate-authority-data"]))
    yaml = tmp_path / "agent.yaml"
    yaml.write_text(json.dumps({
        "cluster": "test",
        "collector": {"url": collector.url, "ca_file": str(collector.ca),
                      "token_file": str(collector.data / "ingest.token")},
        "discovery": {"kubernetes": "on", "docker": "off", "annotation_prefix": PREFIX,
                      "kubernetes_url": f"https://{host}:{port}",
                      "kubernetes_token_file": str(tmp_path / "token"),
                      "kubernetes_ca_file": str(tmp_path / "ca.crt")},
        "push": {"interval": "1s", "spool_dir": str(tmp_path / "spool")}}))
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    with parts.Process([podspy, "agent", "--config", yaml], tmp_path / "agent.log",
                       env={**os.environ, "NODE_NAME": node}) as p:
        yield p


def test_the_collector_answers_why_a_pod_is_empty(agent, collector):
    yes = {"discover.test/profile": "true"}
    names = ("e-plain", "e-wrong", "e-static", "e-absent")
    absent = spec(("web", {"image": "podspy-test/nothing:1"}))
    apply(pod("e-plain"), pod("e-wrong", {**yes, "discover.test/rate": "fast"}),
          pod("e-static", yes), pod("e-absent", yes, absent))
    wait_running("e-static")

    def told(name, words):
        found = collector.processes(namespace=NS, pod=name)
        return [p for p in found if words in (p["problem"] or "")]

    for name, words in (("e-plain", "not annotated: kubectl annotate pod -n"),
                        ("e-wrong", "discover.test/rate is 'fast': give a number from 1 to 1000"),
                        ("e-static", "ython"),  # it runs, and what runs is none
                        ("e-absent", "container web does not run: ErrImageNeverPull")):
        parts.wait_until(lambda: (name, words, collector.processes(namespace=NS), agent.log[-2000:]),
                         lambda: told(name, words), 30)
    answer = collector.get("/pods", namespace=NS, cluster="test", **{"from": "-1h"}).json()
    assert {p["pod"] for p in answer["pods"]} >= set(names)
    assert all(not p["threads"] and not p["samples"]
               for p in collector.processes(namespace=NS, pod="e-plain"))
    kubectl("delete", "pod", *names, "-n", NS, "--wait=false")
