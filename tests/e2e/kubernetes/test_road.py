"""kubectl apply -f deploy/k8s, one annotation, a flamegraph; and what is not read, not allowed, not
taken. All on the real images in a real cluster. What each step took is printed: pytest -s shows it."""

import base64
import json
import pathlib
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

import pytest
from cluster import apply, kubectl

import install
import parts
from install import SHOP, SPACE
from looks import TRACED, WORLD_READABLE, looks

ANNOTATION = {"podspy.dev/profile": "true"}
SYS_PTRACE = 1 << 19


def say(text):
    print(f"\n  {text}", end="", flush=True)


@pytest.fixture(scope="module")
def shop(installed):
    """Two annotated replicas. began is when they were applied."""
    began = time.time()
    apply(*install.service("shop", annotations=ANNOTATION))
    return began


def python_roles(pod_uid):
    """{pid: its function} of the processes that work: gunicorn's workers, and their pools."""
    found = install.processes_of(pod_uid)
    depth = {}
    for pid in found:
        ppid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        depth[pid] = ppid
    master = [p for p, parent in depth.items() if parent not in found]
    workers = [p for p, parent in depth.items() if parent in master]
    return {**{p: "price_order" for p in workers},
            **{p: "pack_parcel" for p, parent in depth.items() if parent in workers}}


def curl(forward, query):
    done = subprocess.run(["curl", "-sf", "--max-time", "20", f"{forward.url}{query}"], capture_output=True)
    return done.stdout.decode() if done.returncode == 0 else ""


def test_two_replicas_with_pools_give_a_flamegraph_within_a_minute(installed, shop):
    forward = installed.forward
    assert parts.wait_until(install.why(SHOP), lambda: install.ready(SHOP, "app=shop", 2), 60, 0.5)
    say(f"both replicas are ready after {time.time() - shop:.1f} s")
    uids = [p["metadata"]["uid"] for p in install.pods(SHOP, "app=shop")]
    roles = parts.wait_until("two workers and two pools of two in each pod", lambda: complete(
        {pid: role for uid in uids for pid, role in python_roles(uid).items()}), 20, 0.5)
    missing = dict(roles)

    def all_seen():
        for pid, function in list(missing.items()):
            if any(function in stack for stack in forward.stacks(pid=pid, namespace=SHOP)):
                del missing[pid]
        return not missing

    parts.wait_until(lambda: (missing, forward.processes(namespace=SHOP), installed.logs.text(installed.agent)[-3000:]),
                     all_seen, 90, 0.5)
    took = time.time() - shop
    say(f"functions of all {len(roles)} workers are there after {took:.1f} s")
    assert took < 60
    svg = curl(forward, f"/profiles?namespace={SHOP}&pod=shop-*&format=svg")
    xml.etree.ElementTree.fromstring(svg)
    assert "price_order" in svg and "pack_parcel" in svg
    of_pods = {(p["pod"], p["service"], p["container"]) for p in forward.processes(namespace=SHOP) if p["samples"]}
    assert of_pods == {(name, "shop", "web") for name in install.names(SHOP, "app=shop")}


def complete(roles):
    return roles if list(roles.values()).count("price_order") == 4 and len(roles) == 12 else None


def test_no_process_of_a_pod_without_the_annotation_is_read(installed, shop, tmp_path):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed: cmake/setup.sh test installs it")
    agent = next(pid for pid, line in install.processes_of(install.uid(installed.agent, SPACE)).items()
                 if "podspy agent" in line)
    trace = tmp_path / "trace"
    # From before the pod is there, so that the first looks at it are seen too.
    with parts.Process(["strace", "-f", "-y", "-s", "4096", "-e", f"trace={TRACED}", "-o", trace, "-p", agent],
                       tmp_path / "strace.log") as strace:
        parts.wait_until("strace sees the agent", lambda: trace.exists() and trace.stat().st_size)
        apply(*install.service("quiet", 1))
        parts.wait_until(install.why(SHOP), lambda: install.ready(SHOP, "app=quiet"), 60, 0.5)
        time.sleep(8)
        quiet = install.processes_of(install.pods(SHOP, "app=quiet")[0]["metadata"]["uid"])
        strace.kill(2)
    assert len(quiet) >= 7, quiet
    seen = {}
    for pid, what in looks(trace.read_text(errors="replace")):
        seen.setdefault(pid, set()).add(what)
    sampled = [pid for pid, what in seen.items() if "process_vm_readv" in what]
    assert len(sampled) >= 12, "the trace shows how the others are read"
    looked_at = {pid: seen[pid] for pid in quiet if pid in seen}
    say(f"of {len(quiet)} processes without it were looked at: {sorted(set().union(*looked_at.values()))}")
    assert looked_at, "they were seen, and left alone"
    for pid, what in looked_at.items():
        assert what <= WORLD_READABLE, (pid, quiet[pid], what)


def test_a_pod_without_the_annotation_is_listed_as_not_annotated(installed, shop):
    if not install.names(SHOP, "app=quiet"):
        apply(*install.service("quiet", 1))
    found = parts.wait_until("the pod is known", lambda: installed.forward.processes(namespace=SHOP, pod="quiet-*"), 40, 1)
    assert all("not annotated: kubectl annotate pod" in p["problem"] and not p["samples"] for p in found)
    kubectl("delete", "deployment,configmap", "quiet", "-n", SHOP)


def test_removing_the_annotation_ends_sampling_within_two_seconds(installed, shop):
    name = install.names(SHOP, "app=shop")[0]
    processes = install.processes_of(install.uid(name))
    began = time.time()
    kubectl("annotate", "pod", name, "-n", SHOP, "podspy.dev/profile-")

    def opted_out():
        lines = [line for line in installed.logs.text(installed.agent).splitlines() if "process opted out" in line]
        return {pid: line for pid in processes for line in lines if f" pid={pid} " in line}

    parts.wait_until(lambda: (processes, installed.logs.text(installed.agent)[-2000:]),
                     lambda: len(opted_out()) == len(processes), 20)
    last = max(install.stamp(line) for line in opted_out().values()) - began
    say(f"all {len(processes)} processes were out {last:.2f} s after kubectl began")
    assert last < 2

    def samples():
        return sum(p["samples"] for p in installed.forward.processes(pod=name))

    time.sleep(13)  # the window in which it ended is in by then
    before = samples()
    assert before > 0
    time.sleep(15)
    assert samples() == before
    kubectl("annotate", "pod", name, "-n", SHOP, "podspy.dev/profile=true")
    parts.wait_until("it is sampled again", lambda: samples() > before, 30, 1)


def test_the_agent_has_one_capability(installed):
    pids = [p for p, line in install.processes_of(install.uid(installed.agent, SPACE)).items()
            if "podspy agent" in line]
    assert pids
    for pid in pids:
        status = dict(line.split(":\t", 1) for line in
                      pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        sets = {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")}
        say(f"{sets}")
        assert sets["CapPrm"] == sets["CapEff"] == sets["CapBnd"] == SYS_PTRACE
        assert sets["CapInh"] in (0, SYS_PTRACE) and sets["CapAmb"] == 0
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
        assert set(status["Uid"].split()) == {"0"}


def test_doctor_passes_in_the_agents_pod(installed, shop):
    said = kubectl("exec", "-n", SPACE, installed.agent, "--", "podspy", "doctor", "--config", "/etc/podspy/agent.yaml")
    say(said.replace("\n", "\n  "))
    assert "\nNO" not in said and "An agent can work here." in said
    for words in ("with CAP_SYS_PTRACE", "process_vm_readv works", "all processes are visible", "watch pods: yes",
                  "takes profiles of this agent"):
        assert words in said
    uid = install.pods(SHOP, "app=shop")[0]["metadata"]["uid"]
    pid = next(iter(parts.wait_until("the shop works", lambda: python_roles(uid), 30)))
    said = kubectl("exec", "-n", SPACE, installed.agent, "--", "podspy", "doctor", "-p", str(pid))
    assert "It can be profiled." in said and "CPython 3.11" in said


def test_the_images_have_an_sbom(installed):
    for name, kind, library in ((installed.agent, "agent", "libjansson4"), (installed.collector, "collector", "libmicrohttpd12")):
        listed = json.loads(install.file_in(name, f"/usr/share/sbom/podspy-{kind}.spdx.json"))
        assert listed["spdxVersion"] == "SPDX-2.3"
        versions = {p["name"]: p["versionInfo"] for p in listed["packages"]}
        assert versions[f"podspy-{kind}"] == install.VERSION
        assert {library, "libc6", "libcurl3-gnutls"} <= set(versions)


def test_the_server_accepts_the_examples_and_optional_manifests(installed):
    deploy = install.REPO / "deploy"
    kubectl("apply", "--dry-run=server", "-f", str(deploy / "k8s" / "examples" / "checkout.yaml"))
    persistent = kubectl("kustomize", str(deploy / "kustomize" / "persistent"))
    kubectl("apply", "--dry-run=server", "-f", "-", stdin=persistent)
    budget = (deploy / "k8s" / "optional" / "pod-disruption-budget.yaml").read_text()
    if "policy/v1\n" not in kubectl("api-versions"):
        budget = budget.replace("policy/v1\n", "policy/v1beta1\n")  # as docs/kubernetes.md tells of Kubernetes 1.20
    kubectl("apply", "--dry-run=server", "-f", "-", stdin=budget)


@pytest.mark.parametrize("verb, what, answer", [
    ("list", "secrets", "no"), ("get", "secrets", "no"), ("create", "pods", "no"), ("watch", "pods", "yes")])
def test_the_agents_token_opens_nothing_else(installed, verb, what, answer):
    token = install.file_in(installed.agent, "/var/run/secrets/kubernetes.io/serviceaccount/token").strip()
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = installed.folder / "agent.conf"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    said = kubectl("--kubeconfig", str(path), "auth", "can-i", verb, what, "-A", check=False)
    assert said.strip() == answer


# --- who is refused, from a pod ---

STRANGER = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger", "namespace": SHOP},
    "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
        "name": "c", "image": f"podspy/demo:{install.VERSION}", "command": ["sleep", "600"],
        "volumeMounts": [{"name": "token", "mountPath": "/tokens"}]}],
        "volumes": [{"name": "token", "projected": {"sources": [
            {"serviceAccountToken": {"audience": "vault", "path": "vault"}},
            {"serviceAccountToken": {"audience": "podspy-collector", "path": "right-audience"}},
            {"serviceAccountToken": {"path": "api-server"}}]}}]}}

PUSH = """
import base64, json, ssl, sys, urllib.request
q = json.load(sys.stdin)
context = ssl.create_default_context(cadata=q["ca"])
if q["certificate"]:
    open("/tmp/pair.pem", "w").write(q["certificate"])
    context.load_cert_chain("/tmp/pair.pem")
headers = {"Content-Type": "application/x-protobuf"}
token = q["token"] or (open("/tokens/" + q["file"]).read() if q["file"] else None)
if token:
    headers["Authorization"] = "Bearer " + token
request = urllib.request.Request(q["url"] + "/v1development/profiles", base64.b64decode(q["body"]), headers)
try:
    print(urllib.request.urlopen(request, context=context, timeout=20).status)
except urllib.error.HTTPError as e:
    print(e.code)
"""


@pytest.fixture(scope="module")
def stranger(installed):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "contract" / "collector"))
    from collector import usual_batch
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}}, STRANGER)
    kubectl("wait", "--for=condition=Ready", "pod/stranger", "-n", SHOP, "--timeout=60s")
    question = {"ca": install.get("configmap", "podspy-collector-ca", "-n", SPACE)["data"]["ca.crt"],
                "url": f"https://podspy-collector.{SPACE}.svc:8443", "certificate": None, "token": None, "file": None,
                "body": base64.b64encode(usual_batch(pod="intruder").bytes()).decode()}

    def push(**how):
        said = kubectl("exec", "-i", "-n", SHOP, "stranger", "--", "python3", "-c", PUSH,
                       stdin=json.dumps({**question, **how}))
        return int(said)

    yield push
    kubectl("delete", "pod", "stranger", "-n", SHOP, "--wait=false")


def test_a_stranger_is_refused_and_nothing_is_stored(installed, stranger, tmp_path):
    assert stranger() == 401
    assert stranger(file="vault") == 401  # another audience's
    assert stranger(file="api-server") == 401
    assert stranger(file="right-audience") == 403  # another account's
    forged = self_made_certificate(tmp_path)
    assert stranger(certificate=forged) in (401, 403)
    assert stranger(certificate=forged, file="vault") in (401, 403)
    answer = installed.forward.get("/pods", pod="intruder")
    assert answer.status_code == 404, answer.text


def test_an_expired_token_of_the_agent_is_refused(installed, stranger):
    key = signing_key()
    if not key:
        pytest.skip("the key that signs this cluster's tokens is not here: no expired token can be made")
    import manifests
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    fresh = manifests.token(SPACE, "podspy-agent", "podspy-collector")

    def signed(**times):
        head, body, _ = fresh.split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        body = base64.urlsafe_b64encode(json.dumps({**claims, **times}).encode()).rstrip(b"=").decode()
        mark = key.sign(f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{head}.{body}." + base64.urlsafe_b64encode(mark).rstrip(b"=").decode()

    now = int(time.time())
    assert stranger(token=signed(iat=now - 7200, nbf=now - 7200, exp=now - 3600)) == 401
    assert installed.forward.get("/pods", pod="intruder").status_code == 404
    # The same with times that hold is taken: so it was the time that was refused.
    assert stranger(token=signed(iat=now - 60, nbf=now - 60, exp=now + 600)) == 200


def signing_key():
    import os
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    path = pathlib.Path(os.environ.get("DEVCLUSTER_HOME") or pathlib.Path(cache) / "devcluster") / "etc" / "sa.key"
    return load_pem_private_key(path.read_bytes(), None) if path.exists() else None


def self_made_certificate(folder):
    """A token with an agent's subject, signed by a foreign authority."""
    key, crt = folder / "key.pem", folder / "crt.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key,
                    "-out", crt, "-subj", f"/O=system:serviceaccounts/CN=system:serviceaccount:{SPACE}:podspy-agent"],
                   check=True, capture_output=True)
    return key.read_text() + crt.read_text()
