"""A real podspy-collector on a data folder of its own, and OTLP bodies for it."""

import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

import requests

REPO = pathlib.Path(__file__).resolve().parents[3]
TIMEOUT = 300  # of an answer, in seconds; it only ends hangs


def _load_proto():
    """The messages of shared/otlp/proto, compiled by protoc, as other programs would have them."""
    out = tempfile.mkdtemp(prefix="podspy-proto-")
    proto = REPO / "shared" / "otlp" / "proto"
    subprocess.run(
        ["protoc", f"--python_out={out}", f"-I{proto}", "podspy_otlp.proto"], check=True
    )
    sys.path.insert(0, out)
    import podspy_otlp_pb2

    return podspy_otlp_pb2


pb = _load_proto()


class Batch:
    """An ExportProfilesServiceRequest under construction."""

    def __init__(self):
        self.request = pb.ExportProfilesServiceRequest()
        d = self.request.dictionary
        for table in (d.mapping_table, d.location_table, d.function_table, d.link_table,
                      d.attribute_table, d.stack_table):
            table.add()
        d.string_table.append("")
        self._strings = {"": 0}

    def _string(self, text):
        if text not in self._strings:
            self._strings[text] = len(self.request.dictionary.string_table)
            self.request.dictionary.string_table.append(text)
        return self._strings[text]

    def _attribute(self, key, value):
        a = self.request.dictionary.attribute_table.add(key_strindex=self._string(key))
        if isinstance(value, str):
            a.value.string_value = value
        else:
            a.value.int_value = value
        return len(self.request.dictionary.attribute_table) - 1

    def _stack(self, frames):
        """frames: (function, file, line), the outermost first; ids count from the leaf."""
        d = self.request.dictionary
        stack = d.stack_table.add()
        for function, file, line in reversed(frames):
            d.function_table.add(name_strindex=self._string(function),
                                 filename_strindex=self._string(file))
            location = d.location_table.add()
            location.lines.add(function_index=len(d.function_table) - 1, line=line)
            stack.location_indices.append(len(d.location_table) - 1)
        return len(d.stack_table) - 1

    def add(self, labels, stacks, profile_id=None, start=None, seconds=10, period_ns=10_000_000,
            clean=None):
        """stacks: (frames, count, state, thread id, thread name) each. Returns the profile_id."""
        resource = self.request.resource_profiles.add()
        for key, value in labels.items():
            resource.resource.attributes.add(key=key).value.string_value = str(value)
        profile = resource.scope_profiles.add().profiles.add()
        profile.profile_id = profile_id or os.urandom(16)
        profile.time_unix_nano = int((start or time.time() - seconds) * 1e9)
        profile.duration_nano = int(seconds * 1e9)
        profile.sample_type.type_strindex = self._string("samples")
        profile.sample_type.unit_strindex = self._string("count")
        profile.period_type.type_strindex = self._string("wall")
        profile.period_type.unit_strindex = self._string("nanoseconds")
        profile.period = period_ns
        if clean is not None:
            profile.attribute_indices.append(self._attribute("podspy.samples.clean", clean))
        for frames, count, state, tid, name in stacks:
            sample = profile.samples.add(stack_index=self._stack(frames), values=[count])
            sample.attribute_indices.extend([
                self._attribute("podspy.thread.state", state),
                self._attribute("thread.id", tid), self._attribute("thread.name", name),
                self._attribute("podspy.gil", "holds" if state == "running" else "none")])
        return profile.profile_id

    def bytes(self):
        return self.request.SerializeToString()


MAIN = ("main", "/app/main.py", 10)
HOT = ("hot", "/app/work.py", 20)
COLD = ("cold", "/app/work.py", 30)
WAIT = ("wait_for_io", "/app/net.py", 40)


def labels(pod="demo", pid=4321, **more):
    return {
        "k8s.pod.name": pod, "k8s.namespace.name": "shop", "k8s.container.name": "web",
        "k8s.node.name": "node-1", "container.id": "c0ffee", "container.image.name": "shop:1",
        "service.name": "checkout", "process.pid": pid, "podspy.process.ns_pid": 7,
        "process.command": "gunicorn", "process.runtime.name": "cpython",
        "process.runtime.version": "3.12.1", **more}


def usual_stacks():
    return [([MAIN, HOT], 70, "running", 11, "worker"),
            ([MAIN, COLD], 30, "running", 12, "MainThread"),
            ([MAIN, WAIT], 400, "waiting", 12, "MainThread")]


def usual_batch(**more):
    b = Batch()
    b.add(labels(**more), usual_stacks(), clean=500)
    return b


class Collector:
    """The program while it runs. End it with stop() or kill()."""

    def __init__(self, path, data, *arguments, config=None):
        self.path, self.data = path, pathlib.Path(data)
        self.arguments = list(arguments)
        if config is not None:
            file = self.data.parent / f"{self.data.name}.yaml"
            file.write_text(config)
            self.arguments += ["--config", str(file)]
        self.log = self.data.parent / f"{self.data.name}.log"
        self.process = None
        self.start()

    def start(self):
        (self.data / "ports.json").unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.path, "--data", self.data, "--listen", "127.0.0.1:0",
                 "--listen-http", "127.0.0.1:0", *self.arguments], stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                ports = json.loads((self.data / "ports.json").read_text())
                if ports["pid"] == self.process.pid:
                    break
            except OSError:
                pass
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        self.https, self.http = ports["https"], ports["http"]

    def stop(self):
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self):
        self.process.kill()
        self.process.wait(60)

    @property
    def ca(self):
        return str(self.data / "ca.pem")

    def token(self, role):
        return (self.data / f"{role}.token").read_text().strip()

    def url(self, path):
        return f"https://127.0.0.1:{self.https}{path}"

    def get(self, path, **more):
        """Over TLS, with the read token."""
        headers = {"Authorization": f"Bearer {self.token('read')}", **more.pop("headers", {})}
        return requests.get(self.url(path), headers=headers, verify=self.ca, timeout=TIMEOUT, **more)

    def get_plain(self, path, **more):
        return requests.get(f"http://127.0.0.1:{self.http}{path}", timeout=TIMEOUT, **more)

    def push(self, body, encoding=None, session=None, **headers):
        headers = {"Authorization": f"Bearer {self.token('ingest')}",
                   "Content-Type": "application/x-protobuf", **headers}
        if encoding:
            headers["Content-Encoding"] = encoding
        return (session or requests).post(self.url("/v1development/profiles"), data=body,
                                          headers=headers, verify=self.ca, timeout=TIMEOUT)

    def raw(self):
        """A TLS connection to speak HTTP by hand on."""
        context = ssl.create_default_context(cafile=self.ca)
        plain = socket.create_connection(("127.0.0.1", self.https), timeout=60)
        return context.wrap_socket(plain, server_hostname="localhost")

    def memory_peak_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(l for l in status.splitlines() if l.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024

    def metric(self, name):
        for line in self.get_plain("/metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        raise KeyError(name)
