"""What deploy/k8s brings, as objects, in a namespace of the test's own."""

import base64
import json
import pathlib
import subprocess

REPO = pathlib.Path(__file__).resolve().parents[3]
FOLDER = REPO / "deploy" / "k8s"


def kubectl(*args, stdin=None, check=True):
    done = subprocess.run(["kubectl", *map(str, args)], input=stdin, capture_output=True, text=True,
                          timeout=120)
    assert not check or done.returncode == 0, f"kubectl {args}: {done.stderr}"
    return done.stdout


def get(*args):
    return json.loads(kubectl("get", *args, "-o", "json"))


def objects(*names):
    """The objects of these files, as kubectl reads them."""
    text, found = "", []
    for name in names:
        text += kubectl("create", "--dry-run=client", "-o", "json", "-f", FOLDER / name)
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        one, at = decoder.raw_decode(text, at)
        found += one["items"] if one["kind"] == "List" else [one]
    return found


def moved(all_objects, namespace):
    """The same in another namespace; what belongs to no namespace is renamed after it."""
    for o in all_objects:
        meta = o["metadata"]
        if o["kind"] == "Namespace":
            meta["name"] = namespace
        elif o["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            meta["name"] = f"{namespace}-{meta['name']}"
        else:
            meta["namespace"] = namespace
        if o["kind"] == "ClusterRoleBinding":
            o["roleRef"]["name"] = f"{namespace}-{o['roleRef']['name']}"
        for subject in o.get("subjects", []):
            subject["namespace"] = namespace
    return all_objects


def apply(all_objects):
    return kubectl("apply", "-f", "-", stdin=json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": all_objects}))


def token(namespace, account, *audiences, bound_to=None):
    """A token as the kubelet would project it; without audiences it is for the API server."""
    spec = {"audiences": list(audiences), "expirationSeconds": 600}
    if bound_to:
        spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": bound_to}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    answer = kubectl("create", "--raw",
                     f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", "-f", "-",
                     stdin=json.dumps(request))
    return json.loads(answer)["status"]["token"]


def server(folder):
    """(URL, file of the CA) of the API."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    cluster = config["clusters"][0]["cluster"]
    ca = folder / "api-ca.pem"
    if "certificate-authority-data" in cluster:
        ca.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    else:
        ca.write_bytes(pathlib.Path(cluster["certificate-authority"]).read_bytes())
    return cluster["server"], ca


def text_of(secret, key):
    return base64.b64decode(secret["data"][key]).decode()
