"""deploy/k8s and deploy/kustomize: one version, the usual labels, current API versions, both ways the
same files. What a server says to them is in tests/e2e/kubernetes."""

import re

import tree

# What Kubernetes serves today (1.20 too, but for policy/v1) and will go on serving.
CURRENT = {
    "v1": "Namespace ServiceAccount Secret ConfigMap Service PersistentVolumeClaim",
    "apps/v1": "Deployment DaemonSet",
    "rbac.authorization.k8s.io/v1": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "networking.k8s.io/v1": "NetworkPolicy",
    "scheduling.k8s.io/v1": "PriorityClass",
    "policy/v1": "PodDisruptionBudget",
    "monitoring.coreos.com/v1": "ServiceMonitor",  # the Prometheus operator's
}


def _files():
    return [n for n in tree.files(".yaml")
            if n.startswith(("deploy/k8s/", "deploy/kustomize/"))
            and not n.endswith("kustomization.yaml")]


def _documents():
    for name in _files():
        for document in re.split(r"(?m)^---\n", tree.text(name)):
            yield name, document


def _version():
    return re.search(r"project\(podspy VERSION ([\d.]+)", tree.text("CMakeLists.txt"))[1]


def test_images_have_the_version_of_the_programs():
    wrong = [f"{n}: {image}" for n in _files()
             for image in re.findall(r"image: (\S+)", tree.text(n))
             if not re.fullmatch(rf"podspy/(agent|collector|demo):{re.escape(_version())}", image)]
    wrong += re.findall(rf"newTag: (?!{re.escape(_version())}}})\S+",
                        tree.text("deploy/k8s/Kustomization"))
    assert not wrong, wrong
    for name in _files():
        text = tree.text(name)
        assert text.count("image: ") == text.count("imagePullPolicy: IfNotPresent"), name


def test_kinds_are_of_current_api_versions():
    seen = 0
    for name, document in _documents():
        api = re.search(r"(?m)^apiVersion: (\S+)", document)[1]
        kind = re.search(r"(?m)^kind: (\S+)", document)[1]
        assert kind in CURRENT.get(api, "").split(), f"{name}: {kind} of {api}"
        seen += 1
    assert seen > 20


def test_everything_that_is_installed_bears_the_usual_labels():
    patches = ("deploy/kustomize/persistent/collector.yaml", "deploy/kustomize/sidecar/",
               "deploy/kustomize/clickhouse/collector.yaml", "deploy/kustomize/clickhouse/config.yaml",
               "deploy/kustomize/sidecar-example/sidecar.yaml")
    for name, document in _documents():
        if not name.startswith(patches):
            for label in ("name: ", "part-of: podspy"):
                assert f"app.kubernetes.io/{label}" in document, f"{name}: {label}"


def test_both_ways_install_the_same_files():
    plain = {n.rsplit("/", 1)[1] for n in _files() if re.fullmatch(r"deploy/k8s/[^/]+", n)}
    assert set(re.findall(r"(?m)^  - (\S+\.yaml)$", tree.text("deploy/k8s/Kustomization"))) == plain
    # kubectl apply -f reads .yaml, .yml and .json of the folder: a kustomization must not be one.
    assert not [n for n in tree.files() if re.fullmatch(r"deploy/k8s/kustomization\.ya?ml", n)]


def test_no_container_but_the_agents_has_a_capability_or_privilege():
    for name in _files():
        text = tree.text(name)
        assert "privileged: true" not in text
        added = re.findall(r"(?m)^\s+add: (\[.*?\])", text)
        assert added == (["[SYS_PTRACE]"] if name == "deploy/k8s/40-agent.yaml" else []), name
        for container in re.split(r"(?m)^\s+(?:- )?image: ", text)[1:]:
            assert re.search(r"drop: \[ALL\]", container), name
            assert "allowPrivilegeEscalation: false" in container, name
            assert "readOnlyRootFilesystem: true" in container, name
