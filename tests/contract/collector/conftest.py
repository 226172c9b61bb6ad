import itertools
import signal

import pytest

from collector import Collector, usual_batch


@pytest.fixture
def new_collector(podspy_collector, tmp_path):
    """new_collector(*arguments, config=YAML) starts one; all end with the test."""
    numbers, running = itertools.count(), []

    def start(*arguments, **more):
        running.append(Collector(podspy_collector, tmp_path / f"data{next(numbers)}", *arguments,
                                 **more))
        return running[-1]

    yield start
    for c in running:  # what a sanitizer finds changes the exit code
        if c.process.returncode != -signal.SIGKILL:
            assert c.stop() == 0, c.log.read_text()


@pytest.fixture
def collector(new_collector):
    return new_collector()


@pytest.fixture(scope="module")
def filled(podspy_collector, tmp_path_factory):
    """A collector that holds one usual batch of pod demo; for tests that only read."""
    c = Collector(podspy_collector, tmp_path_factory.mktemp("filled") / "data")
    assert c.push(usual_batch().bytes()).status_code == 200
    yield c
    code = c.stop()
    assert code == 0
