"""Grafana's questions, message by message: tests/data/grafana/querier.proto compiled by protoc."""

import subprocess
import sys
import tempfile

import requests
from collector import REPO, TIMEOUT


def _load_proto():
    out = tempfile.mkdtemp(prefix="podspy-querier-")
    proto = REPO / "tests" / "data" / "grafana"
    subprocess.run(["protoc", f"--python_out={out}", f"-I{proto}", "querier.proto"], check=True)
    sys.path.insert(0, out)
    import querier_pb2

    return querier_pb2


pb = _load_proto()
METHODS = {"ProfileTypes": (pb.TypesRequest, pb.TypesResponse),
           "LabelNames": (pb.NamesRequest, pb.NamesResponse),
           "LabelValues": (pb.ValuesRequest, pb.NamesResponse),
           "SelectSeries": (pb.SeriesRequest, pb.SeriesResponse),
           "SelectMergeStacktraces": (pb.StacksRequest, pb.StacksResponse)}
CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
SAMPLES = "process_cpu:samples:count:cpu:nanoseconds"
WALL = "wall:wall:nanoseconds:wall:nanoseconds"
ALL_SAMPLES = "wall:samples:count:wall:nanoseconds"


def post(collector, method, body, headers=None, token="read"):
    """As Grafana sends it: a plain message over TLS, the credential in a header."""
    usual = {"Content-Type": "application/proto", "Connect-Protocol-Version": "1"}
    if token:
        usual["Authorization"] = f"Bearer {collector.token(token)}"
    return requests.post(collector.url(f"/querier.v1.QuerierService/{method}"), data=body,
                         headers={**usual, **(headers or {})}, verify=collector.ca, timeout=TIMEOUT)


def ask(collector, method, **fields):
    """The answer's message."""
    request, response = METHODS[method]
    got = post(collector, method, request(**fields).SerializeToString())
    assert got.status_code == 200, got.text
    assert got.headers["Content-Type"] == "application/proto"
    return response.FromString(got.content)


def refusal(collector, method, **fields):
    """(status, code, message) of a refused question."""
    got = post(collector, method, METHODS[method][0](**fields).SerializeToString())
    assert got.headers["Content-Type"] == "application/json"
    error = got.json()
    assert set(error) == {"code", "message"}
    return got.status_code, error["code"], error["message"]


def bars(graph):
    """{path: (total, self)} of a flame graph's levels, which must hang together."""
    assert graph.names[0] == "total"
    above, found = [(0, graph.total, ())], {}
    for depth, level in enumerate(graph.levels):
        end, here = 0, []
        assert len(level.values) % 4 == 0
        for i in range(0, len(level.values), 4):
            gap, total, own, name = level.values[i:i + 4]
            start = end + gap
            end = start + total
            if depth == 0:
                assert (gap, total, name) == (0, graph.total, 0) and len(level.values) == 4
                path = ()
            else:
                parents = [p for s, e, p in above if s <= start and end <= e]
                assert len(parents) == 1, "a bar lies below none or two"
                path = (*parents[0], graph.names[name])
            assert total > 0 and 0 <= own <= total and path not in found
            found[path] = (total, own)
            here.append((start, end, path))
        above = here
    for path, (total, own) in found.items():
        below = sum(t for p, (t, _) in found.items() if len(p) == len(path) + 1 and p[:-1] == path)
        assert total == own + below, path
    assert graph.max_self == max(own for _, own in found.values())
    return found
