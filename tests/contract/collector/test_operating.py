"""What keeps a collector running: metrics and alerts, reloading, a graceful end."""

import json
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest
from collector import REPO, usual_batch
from test_kill import Sender

PROMETHEUS, GRAFANA = REPO / "deploy" / "prometheus", REPO / "deploy" / "grafana"
METRIC = r"\bpodspy_(?:collector|agent)_\w+"


def _promtool(*arguments):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed: cmake/setup.sh test installs it")
    p = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True)
    assert p.returncode == 0, p.stdout + p.stderr
    return p.stdout


def _collector_metrics(c):
    return set(re.findall(r"^# TYPE (\S+)", c.get_plain("/metrics").text, re.M))


def _agent_metrics():
    """Names in the agent's tables; tests/contract/upload holds them against a running agent."""
    sources = "".join(p.read_text() for p in (REPO / "agent").rglob("*.c"))
    return set(re.findall(r'"(podspy_agent_\w+)"', sources))


# --- metrics ---

def test_metrics_have_the_usual_names_and_kinds(filled):
    text = filled.get_plain("/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)", text, re.M))
    for name, kind in kinds.items():
        assert name.startswith("podspy_collector_")
        assert name.endswith("_total") == (kind == "counter"), name
    assert set(re.findall(r"^# HELP (\S+) \S", text, re.M)) == set(kinds)


def test_every_metric_of_the_collector_is_documented(filled):
    text = (REPO / "docs" / "operating.md").read_text()
    missing = [m for m in _collector_metrics(filled) if f"`{m}" not in text]
    assert not missing, "docs/operating.md does not have " + ", ".join(sorted(missing))


def test_what_the_collector_takes_is_what_the_kernel_says(filled):
    before = filled.metric("podspy_collector_cpu_seconds_total")
    for _ in range(3):
        filled.get("/profiles")
    assert filled.metric("podspy_collector_cpu_seconds_total") > before > 0
    resident = filled.metric("podspy_collector_resident_memory_bytes") / 2 ** 20
    assert 1 < resident < filled.memory_peak_mib() + 16
    stored = sum(f.stat().st_blocks * 512 for f in filled.data.iterdir())
    assert filled.metric("podspy_collector_data_bytes") == pytest.approx(stored, rel=0.2)
    assert abs(filled.metric("podspy_collector_start_time_seconds") - time.time()) < 3600
    assert filled.metric("podspy_collector_data_max_bytes") == 50 * 2 ** 30
    disk = shutil.disk_usage(filled.data)
    assert filled.metric("podspy_collector_disk_size_bytes") == disk.total


# --- alerts and the dashboard ---

def test_alert_rules_are_sound_and_fire_when_they_should():
    _promtool("check", "rules", "alerts.yaml")
    assert "SUCCESS" in _promtool("test", "rules", "alerts_test.yaml")


def test_every_alert_is_tested_and_documented():
    alerts = re.findall(r"- alert: (\w+)", (PROMETHEUS / "alerts.yaml").read_text())
    tested, docs = (PROMETHEUS / "alerts_test.yaml").read_text(), (REPO / "docs/operating.md").read_text()
    assert len(alerts) == len(set(alerts)) > 10
    assert not [a for a in alerts if f'"{a}"' not in tested or f"`{a}`" not in docs]


def test_alerts_and_dashboard_use_metrics_that_there_are(filled):
    known = _collector_metrics(filled) | _agent_metrics()
    for file in (PROMETHEUS / "alerts.yaml", GRAFANA / "dashboard.json"):
        used = set(re.findall(METRIC, file.read_text()))
        assert used and not used - known, f"{file.name}: {used - known}"


def test_the_dashboard_is_one_that_grafana_can_load():
    dashboard = json.loads((GRAFANA / "dashboard.json").read_text())
    assert dashboard["title"] == dashboard["uid"] == "podspy" and dashboard["schemaVersion"] >= 36
    panels, variables = dashboard["panels"], {v["name"] for v in dashboard["templating"]["list"]}
    assert len({p["id"] for p in panels}) == len(panels) > 10
    cells = set()
    for p in panels:
        at = p["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert p["title"] and p["targets"] and at["x"] + at["w"] <= 24 and not own & cells
        cells |= own
        for used in re.findall(r"\$\{?(\w+)", json.dumps(p)):
            assert used in variables | {"__rate_interval"}, f"{p['title']}: ${used}"
        for t in p["targets"]:
            assert t["datasource"] == p["datasource"] and t["refId"]
    source = (GRAFANA / "datasource.yaml").read_text()
    assert "type: grafana-pyroscope-datasource\n" in source


def test_queries_of_the_dashboard_are_promql():
    """By promtool, as recording rules, with Grafana's variables filled in."""
    dashboard = json.loads((GRAFANA / "dashboard.json").read_text())
    exprs = [t["expr"] for p in dashboard["panels"] for t in p["targets"] if "expr" in t]
    rules = [{"record": f"r:{i}", "expr": e.replace("$__rate_interval", "5m").replace("$job", ".*")}
             for i, e in enumerate(exprs)]
    text = json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})  # which is YAML
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed: cmake/setup.sh test installs it")
    p = subprocess.run(["promtool", "check", "rules", "/dev/stdin"], input=text, capture_output=True, text=True)
    assert p.returncode == 0 and len(exprs) > 20, p.stdout + p.stderr


# --- reloading ---

def _wait_for_log(c, text, since):
    deadline = time.monotonic() + 120
    while text not in c.log.read_text()[since:]:
        assert time.monotonic() < deadline, c.log.read_text()[since:]
        time.sleep(0.05)
    return next(l for l in c.log.read_text()[since:].splitlines() if text in l)


def _rewrite(c, text, sighup=True):
    """Gives the collector another configuration; returns where its log was."""
    since = len(c.log.read_text())
    (c.data.parent / f"{c.data.name}.yaml").write_text(text)
    if sighup:
        c.process.send_signal(signal.SIGHUP)
    return since


def test_retention_is_taken_over_and_the_rest_is_named(new_collector):
    c = new_collector(config="retention: {raw: 24h, max_gib: 50}\n")
    since = _rewrite(c, "retention: {raw: 48h, max_gib: 7}\n")
    assert "raw_seconds=172800" in _wait_for_log(c, "how long data is kept has changed", since)
    assert c.metric("podspy_collector_data_max_bytes") == 7 * 2 ** 30
    assert c.metric("podspy_collector_config_current") == 1
    since = _rewrite(c, "retention: {raw: 48h, max_gib: 7}\nlimits: {agents: 5}\nauth: {read: [token, mtls]}\n"
                        "tls: {client_ca_file: /x}\n")
    line = _wait_for_log(c, "need a restart", since)
    assert all(key in line for key in ("limits.agents", "auth.read", "tls.client_ca_file"))
    assert "retention" not in line and "listen" not in line
    assert c.metric("podspy_collector_config_current") == 0


def test_a_refused_file_leaves_the_configuration_as_it_was(new_collector):
    c = new_collector(config="retention: {max_gib: 7}\n")
    since = _rewrite(c, "retention: {max_gib: 8}\nlimts: {agents: 5}\n")
    line = _wait_for_log(c, "the previous one stays in use", since)
    assert ":2:" in line and "limts" in line
    assert c.metric("podspy_collector_data_max_bytes") == 7 * 2 ** 30
    assert c.metric("podspy_collector_config_current") == 0
    assert c.push(usual_batch().bytes()).status_code == 200
    _rewrite(c, "retention: {max_gib: 7}\n")
    deadline = time.monotonic() + 60
    while c.metric("podspy_collector_config_current") != 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_changed_file_is_seen_without_a_signal(new_collector):
    c = new_collector(config="retention: {max_gib: 7}\n")
    since = _rewrite(c, "retention: {max_gib: 11}\n", sighup=False)
    _wait_for_log(c, "how long data is kept has changed", since)
    assert c.metric("podspy_collector_data_max_bytes") == 11 * 2 ** 30


# --- the end ---

def test_sigterm_under_load_ends_with_0_and_loses_nothing_acknowledged(collector):
    stop = threading.Event()
    senders = [Sender(collector, i, stop) for i in range(4)]
    for s in senders:
        s.start()
    deadline = time.monotonic() + 60
    while sum(len(s.acked) for s in senders) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    code = collector.stop()
    stop.set()
    for s in senders:
        s.join()
    assert code == 0
    assert set().union(*(s.codes for s in senders)) <= {200, 503}
    acked = [name for s in senders for name, _ in s.acked]
    assert len(acked) >= 20
    collector.start()
    stored = collector.get("/profiles?format=collapsed&processes=0").text
    missing = [name for name in acked if not re.search(rf"{name} .* 6$", stored, re.M)]
    assert not missing
