"""GET /entries against real frameworks: endpoints, tasks and jobs that take CPU time in known proportions.

apps/NAME.py is a program for each. `heavy` takes twice the time of `light`, and both are asked for equally often.
"""

import contextlib
import itertools
import os
import pathlib
import signal
import sys
import time

import parts
import pytest
import requests

import machine
import venvs

APPS = pathlib.Path(__file__).parent / "apps"
RATE = 250
SAMPLES = 1000  # two standard deviations of a share are below 3 points
POINTS = 0.03
USUAL = {"heavy": 2 / 3, "light": 1 / 3}


class Case:
    def __init__(self, app, venv, framework, shares=USUAL, paths=("heavy", "light"), kind="endpoint", arguments=()):
        self.app, self.venv, self.framework, self.kind = app, venv, framework, kind
        self.shares, self.paths, self.arguments = shares, paths, arguments
        self.id = "-".join([app, *arguments])


CASES = [
    Case("wsgi_plain", None, "wsgi", {"application": 1}, kind="app"),
    Case("flask_app", "flask", "flask", {"create_app.<locals>.heavy": 2 / 3, "create_app.<locals>.Light.get": 1 / 3}),
    Case("django_app", "django", "django", {"heavy": 2 / 5, "Light.get": 1 / 5, "Rest.get": 2 / 5},
         ["heavy", "light", "rest"]),
    Case("fastapi_app", "fastapi", "fastapi", arguments=["uvloop"]),
    Case("fastapi_app", "fastapi", "fastapi", arguments=["asyncio"]),
    Case("starlette_app", "starlette", "starlette", {"heavy": 2 / 3, "Light.get": 1 / 3}),
    Case("asgi_plain", "starlette", "asgi", {"application": 1}, kind="app"),
    Case("aiohttp_app", "aiohttp", "aiohttp", {"heavy": 2 / 3, "Light.get": 1 / 3}),
    Case("tornado_app", "tornado", "tornado", {"Heavy.get": 2 / 3, "Light.get": 1 / 3}),
    Case("sanic_app", "sanic", "sanic", {"heavy": 2 / 3, "Light.get": 1 / 3}),
    Case("grpc_app", "grpc", "grpc", paths=()),
    Case("celery_app", "celery", "celery", paths=(), kind="task"),
    Case("rq_app", "rq", "rq", paths=(), kind="job"),
    Case("airflow_app", "airflow", "airflow", {"heavy": 2 / 3, "Light.execute": 1 / 3}, paths=(), kind="task"),
    Case("dramatiq_app", "dramatiq", "dramatiq", paths=(), kind="task"),
]


@pytest.fixture(scope="module")
def collector(tmp_path_factory, podspy_collector):
    with parts.Collector(podspy_collector, tmp_path_factory.mktemp("collector")) as c:
        yield c


@pytest.fixture
def service(request, tmp_path):
    """The program of a case, with its port; everything that it starts ends with it."""
    case = request.param
    python = venvs.python(case.venv) if case.venv else parts.PYTHON
    if not python:
        pytest.skip(venvs.why_missing(case.venv))
    port = parts.free_port()
    argv = [python, APPS / f"{case.app}.py", port, *case.arguments]
    with parts.Process(argv, tmp_path / "service.log", cwd=tmp_path, start_new_session=True,
                       env={**os.environ, "PYTHONPATH": str(APPS), "HOME": str(tmp_path)}) as p:
        yield case, port, p
        with contextlib.suppress(ProcessLookupError):  # it ended by itself, as its log says
            os.killpg(p.pid, signal.SIGKILL)


def ask(port, paths):
    for path in paths:
        requests.get(f"http://127.0.0.1:{port}/{path}", timeout=60).raise_for_status()


def is_up(port, paths):
    try:
        ask(port, paths)
    except requests.ConnectionError:
        return False
    return True


def entries(collector, pod, since):
    got = collector.get("/entries", pod=pod, **{"from": since})
    return got.json() if got.ok else {"samples": 0}


def measure(podspy, collector, folder, case, port, service):
    """(the shares of the entries, the whole answer) of at least SAMPLES samples."""
    since, pod = str(time.time()), case.app.replace("_", "-")
    rules = f'[{{name: {pod}, cmdline: "apps/{case.app}.py", rate: {RATE}}}]'
    with parts.Agent(podspy, folder, collector, rules, budget=90):
        for n in itertools.count():
            if case.paths:
                ask(port, case.paths)
            else:
                time.sleep(0.5)
            if n % 20 == 19 or not case.paths:
                answer = entries(collector, pod, since)
                assert service.alive(), service.log[-3000:]
                if answer["samples"] >= SAMPLES:
                    return answer


@pytest.mark.parametrize("service", CASES, indirect=True, ids=lambda c: c.id)
def test_shares_are_within_3_points(podspy, collector, tmp_path, service):
    case, port, process = service
    if case.paths:
        parts.wait_until(lambda: process.log[-3000:], lambda: is_up(port, case.paths), 120)
    tries = itertools.count()

    def once():
        answer = measure(podspy, collector, tmp_path / f"agent{next(tries)}", case, port, process)
        known = {e["name"]: e for e in answer["entries"]}
        for name in case.shares:  # these do not depend on the machine
            assert name in known, answer
            assert known[name]["kind"] == case.kind, answer
        return {**{name: round(known[name]["share"], 3) for name in case.shares},
                "no entry": round(answer["no_entry"]["share"], 3), "samples": answer["samples"],
                "frameworks": sorted({known[name]["framework"] for name in case.shares})}

    got = machine.measured(f"shares of {case.id}", once,
                           lambda f: all(abs(f[name] - share) <= POINTS for name, share in case.shares.items()))
    assert case.framework in got["frameworks"] or "starlette" in got["frameworks"], got
    print(got, file=sys.stderr)
