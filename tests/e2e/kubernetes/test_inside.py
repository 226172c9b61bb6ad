"""Discovery from inside a pod: address, token and CA are the service account's, and the cgroups of other processes are
read as a container sees them."""

import json
import time

from cluster import NS, PREFIX, apply, kubectl, load_image, pod, wait_running

IMAGE = "podspy-test/discover:1"


def agent_pod(**more):
    spec = {"serviceAccountName": "agent", "terminationGracePeriodSeconds": 1, "restartPolicy": "Never",
            "containers": [{
                "name": "agent", "image": IMAGE, "imagePullPolicy": "Never",
                "args": ["/etc/agent/agent.yaml", "60"],
                "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "securityContext": {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True,
                                    "allowPrivilegeEscalation": False},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/agent"}]}],
            "volumes": [{"name": "config", "configMap": {"name": "discover"}}], **more}
    return spec


def said_by(name):
    lines = [line for line in kubectl("logs", "-n", NS, name).splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


def wait_for(name, condition, seconds=30):
    end = time.time() + seconds
    while not condition(said_by(name)):
        assert time.time() < end, kubectl("logs", "-n", NS, name)
        time.sleep(0.5)


def test_an_agent_in_a_pod_finds_the_pods_of_its_node(discover_namespace, program, tmp_path):
    load_image(tmp_path, program("discover_pods"), IMAGE)
    apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "discover", "namespace": NS},
           "data": {"agent.yaml": f"discovery: {{kubernetes: auto, annotation_prefix: {PREFIX}}}\n"}},
          pod("target", {"discover.test/profile": "true"}),
          pod("sees", pod_spec=agent_pod(hostPID=True)), pod("blind", pod_spec=agent_pod()))
    wait_running("target")
    wait_running("sees")

    def found(said):
        return [e for e in said if e.get("event") == "added" and e["pod"] == "target" and e["namespace"] == NS]

    wait_for("sees", lambda said: len(found(said)) == 3)
    assert {e["container"] for e in found(said_by("sees"))} == {"web"}
    # without hostPID it sees nobody, and says what to do
    wait_for("blind", lambda said: any(
        p["pod"] == "target" and "hostPID: true" in p["problem"]
        for s in said for p in s.get("problems", [])))
    assert not found(said_by("blind"))
    kubectl("delete", "pod", "target", "sees", "blind", "-n", NS, "--wait=false")
