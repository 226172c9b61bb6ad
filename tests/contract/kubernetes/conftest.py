import itertools
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "collector"))

from api_double import Api  # noqa: E402
from collector import Collector  # noqa: E402


@pytest.fixture
def api(tmp_path):
    a = Api(tmp_path)
    yield a
    a.close()


@pytest.fixture
def new_collector(podspy_collector, tmp_path, api):
    """new_collector(**options of auth.kubernetes): a collector that asks the API double."""
    numbers, running = itertools.count(), []

    def start(**more):
        data = tmp_path / f"data{next(numbers)}"
        c = Collector(podspy_collector, data, config=api.config(**more))
        running.append(c)
        return c

    yield start
    for c in running:
        if c.process.poll() is None:
            c.kill()


@pytest.fixture
def collector(new_collector):
    return new_collector()
