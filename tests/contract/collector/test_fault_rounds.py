"""A round or two of each fault of fault_rounds.py, whose --rounds 100 prints the counts of the long run."""

import pytest

import clickhouse
import fault_rounds

ROUNDS = 2


@pytest.mark.parametrize("fault", fault_rounds.FAULTS)
@pytest.mark.parametrize("kind", fault_rounds.STORES)
def test_each_acknowledged_profile_is_there_once(podspy_collector, tmp_path, capsys, kind, fault):
    if kind == "clickhouse" and not clickhouse.program():
        pytest.skip("clickhouse-server is not installed: cmake/setup.sh test does")
    said = []
    acked, lost, twice = fault_rounds.run(kind, fault, ROUNDS, podspy_collector, tmp_path, said.append)
    with capsys.disabled():
        print(f"\n{said[0]}")
    assert acked >= 2 * fault_rounds.ACKS * ROUNDS and not lost and not twice
