"""Tokens that Kubernetes vouches for: who gets in, who does not, and what an API server that is
away or slow changes."""

import subprocess
import threading
import time

import pytest
import requests

import machine
from api_double import AGENT, AUDIENCE, NAMESPACE, Api, jwt
from collector import usual_batch


def agent_token(api, name=AGENT, audience=AUDIENCE, known=True, lasts=3600):
    token = jwt(aud=[audience], exp=int(time.time()) + lasts, sub=name, jti=str(time.time_ns()))
    if known:
        api.users[token] = (name, [audience])
    return token


def push(collector, token):
    header = {"Authorization": f"Bearer {token}"} if token else {"Authorization": ""}
    return collector.push(usual_batch().bytes(), **header)


def stored(collector):
    return collector.get_plain("/pods").json()["pods"]


def test_the_agents_token_is_accepted_and_reviewed_once(api, collector):
    token = agent_token(api)
    for _ in range(5):
        assert push(collector, token).status_code == 200
    assert api.reviews() == 1
    assert api.questions[0]["spec"] == {"token": token, "audiences": [AUDIENCE]}
    assert stored(collector)[0]["pod"] == "demo"


@pytest.mark.parametrize("token, says", [
    ("", "Authorization"),
    ("nonsense", "service account token"),
    ("a.b.c", "service account token"),
    (jwt(aud="vault", exp=time.time() + 999), "audience"),
    (jwt(aud=["api", "vault"], exp=int(time.time()) + 999), "audience"),
    (jwt(aud=[AUDIENCE], exp=int(time.time()) - 1), "expired"),
    (jwt(sub=AGENT), "audience"),
    ("x" * 20000, "service account token"),
])
def test_a_malformed_token_is_401_without_a_review(api, collector, token, says):
    r = push(collector, token)
    assert r.status_code == 401
    assert says in r.json()["error"]["message"]
    assert api.reviews() == 0
    assert stored(collector) == []


def test_an_api_server_without_serverauth_gets_no_request(podspy_collector, tmp_path):
    """The collector waits for a server with a right one for 20 seconds."""
    api = Api(tmp_path, purpose="clientAuth")
    config = tmp_path / "c.yaml"
    config.write_text(api.config())
    try:
        p = subprocess.run([podspy_collector, "--data", tmp_path / "d", "--listen", "127.0.0.1:0", "--config", config],
                           capture_output=True, text=True, timeout=120)
        assert p.returncode == 1
        assert "lacks serverAuth" in p.stderr
        assert api.asked == []
    finally:
        api.close()


def test_a_forged_token_is_401_and_reviewed_once(api, collector):
    token = agent_token(api, known=False)
    for _ in range(3):
        assert push(collector, token).status_code == 401
    assert api.reviews() == 1
    assert stored(collector) == []


def test_another_account_with_the_right_audience_is_403(api, collector):
    for name in (f"system:serviceaccount:{NAMESPACE}:default", AGENT + "x", AGENT[:-1],
                 "system:serviceaccount:elsewhere:podspy-agent"):
        r = push(collector, agent_token(api, name))
        assert r.status_code == 403, name
        assert r.json()["error"]["code"] == "forbidden"
    assert stored(collector) == []


def test_several_accounts_can_be_agents(api, new_collector):
    shop, mail = (f"system:serviceaccount:{n}:web" for n in ("shop", "mail"))
    c = new_collector(agent=f"{shop}, {mail}")
    for name, status in ((shop, 200), (mail, 200), (AGENT, 403), (f"{shop}, {mail}", 403),
                         (shop[:-1], 403), ("web", 403)):
        assert push(c, agent_token(api, name)).status_code == status, name


def test_a_review_without_audiences_is_not_trusted(api, collector):
    api.knows_audiences = False
    assert push(collector, agent_token(api)).status_code == 401
    assert stored(collector) == []


def test_a_cached_verdict_ends_with_its_token(api, collector):
    token = agent_token(api, lasts=3)
    assert push(collector, token).status_code == 200
    time.sleep(3.1)
    assert push(collector, token).status_code == 401


def test_without_the_api_server_cached_tokens_work_and_others_get_503(api, collector):
    known, fresh = agent_token(api), agent_token(api)
    assert push(collector, known).status_code == 200
    api.fail = 500
    r = push(collector, fresh)
    assert r.status_code == 503
    assert int(r.headers["Retry-After"]) > 0
    assert push(collector, known).status_code == 200
    asked = api.reviews()
    for _ in range(20):
        assert push(collector, fresh).status_code == 503
    assert api.reviews() <= asked + 5  # it is left in peace for a second after each failure
    api.fail = None
    time.sleep(1.1)
    assert push(collector, fresh).status_code == 200


def test_a_missing_right_to_review_is_503_and_logged(api, collector):
    api.forbidden.add(("POST", "tokenreviews"))
    assert push(collector, agent_token(api)).status_code == 503
    assert "deploy/k8s" in collector.log.read_text()


def test_a_slow_api_server_delays_no_other_request(api, collector):
    known = agent_token(api)
    assert push(collector, known).status_code == 200
    api.delay = 30
    answers = []
    slow = [threading.Thread(target=lambda: answers.append(push(collector, agent_token(api))))
            for _ in range(20)]
    for t in slow:
        t.start()
    time.sleep(0.5)
    def seconds():
        began = time.monotonic()
        assert push(collector, known).status_code == 200
        assert collector.get_plain("/pods").status_code == 200
        return time.monotonic() - began

    machine.measured("seconds for a push and a query", seconds, lambda s: s < 2, tries=5)
    for t in slow:
        t.join(60)
    assert [r.status_code for r in answers] == [503] * 20
    assert api.reviews() <= 9


def test_the_collectors_own_token_is_read_for_each_review(api, collector):
    assert push(collector, agent_token(api)).status_code == 200
    api.own_token = "renewed-by-the-kubelet"
    api.token_file.write_text(api.own_token)
    assert push(collector, agent_token(api)).status_code == 200


def read(collector, token, path="/pods"):
    return requests.get(collector.url(path), verify=collector.ca, timeout=30,
                        headers={"Authorization": f"Bearer {token}"})


def test_whoever_may_get_the_service_may_read(api, collector):
    api.readers.add("jane")
    for name, audience, status in (("jane", "api", 200), ("jane", AUDIENCE, 200),
                                   ("joe", "api", 403), ("jane", "vault", 401)):
        token = jwt(aud=[audience], sub=name, exp=int(time.time()) + 99)
        api.users[token] = (name, [audience])
        for path in ("/pods", "/metrics"):
            assert read(collector, token, path).status_code == status, (name, audience, path)
    asked = next(q["spec"] for q in api.questions if "resourceAttributes" in q["spec"])
    assert asked == {"user": "jane", "uid": "u-1", "groups": ["system:authenticated"],
                     "extra": {"pod": ["p-1"]},
                     "resourceAttributes": {"verb": "get", "resource": "services",
                                            "name": "podspy-collector", "namespace": NAMESPACE}}


def test_an_opaque_user_token_may_read(api, collector):
    api.readers.add("jane")
    api.users["opaque-token"] = ("jane", ["api"])
    assert read(collector, "opaque-token").status_code == 200
    assert read(collector, "another-opaque-token").status_code == 401


def test_the_read_token_of_the_data_folder_needs_no_review(api, collector):
    assert read(collector, collector.token("read")).status_code == 200
    assert api.reviews() == 0


def test_agents_tokens_may_not_read_and_readers_tokens_may_not_push(api, collector):
    api.readers.add("jane")
    assert read(collector, agent_token(api)).status_code == 403
    assert push(collector, agent_token(api, "jane")).status_code == 403


def test_health_needs_no_token(api, collector):
    r = requests.get(collector.url("/healthz"), verify=collector.ca, timeout=30)
    assert r.status_code == 200
