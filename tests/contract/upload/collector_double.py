"""A small HTTPS server that answers as a test plans, and keeps what it acknowledged.

It is not a collector: it exists to fail in ways that a real one does only on a bad day.
"""

import collections
import datetime
import gzip
import http.server
import ipaddress
import socket
import ssl
import struct
import threading
import time

import zstandard
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# --- certificates ---


class Authority:
    """A CA of a test's own; issue() makes a server certificate for an address."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.cert = self._sign(name, self.key.public_key(), ca=True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.cert.public_bytes(serialization.Encoding.PEM))

    def _sign(self, name, public, ca=False, address=None, purposes=()):
        now = datetime.datetime.utcnow()
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        b = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if address:
            names = [x509.IPAddress(ipaddress.ip_address(address))]
            b = b.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if purposes:
            b = b.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
        return b.sign(self.key, hashes.SHA256())

    def issue(self, address="127.0.0.1", purposes=()):
        """A file with certificate and key for a server at this address; without purposes, for any."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._sign("server", key.public_key(), address=address, purposes=purposes)
        path = self.folder / f"{self.name}-{address}.pem"
        path.write_bytes(
            cert.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return path


# --- just enough of protobuf ---


def fields(data):
    """(number, value) of each field: an int, or the bytes of what has a length."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    while at < len(data):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            yield tag >> 3, varint()
        elif kind == 1:
            yield tag >> 3, struct.unpack_from("<Q", data, at)[0]
            at += 8
        elif kind == 2:
            size = varint()
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {kind}")


def all_of(data, *path):
    """The values at a path of field numbers."""
    if not path:
        return [data]
    return [v for n, part in fields(data) if n == path[0] for v in all_of(part, *path[1:])]


def packed(data):
    out, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            out.append(value)
            value = shift = 0
    return out


Profile = collections.namedtuple("Profile", "id pid samples lost")


def unzstd(body):
    return zstandard.ZstdDecompressor().decompress(body, max_output_size=64 << 20)


UNPACK = {"zstd": unzstd, "gzip": gzip.decompress, "identity": bytes}


def profiles(body, encoding="zstd"):
    """What a request holds: an ExportProfilesServiceRequest."""
    request = UNPACK[encoding](body)
    strings = all_of(request, 2, 5)
    attributes = []
    for row in all_of(request, 2, 6):
        key = (all_of(row, 1) or [0])[0]
        attributes.append((strings[key].decode(), all_of(row, 2, 3)))
    found = []
    for resource in all_of(request, 1):
        labels = {all_of(a, 1)[0].decode(): all_of(a, 2) for a in all_of(resource, 1, 1)}
        if "process.pid" not in labels:
            continue  # it tells what the agent lacks on this node
        pid = all_of(labels["process.pid"][0], 3)[0]
        for p in all_of(resource, 2, 2):
            samples = sum(v for row in all_of(p, 2, 4) for v in packed(row))
            quality = dict(attributes[i] for row in all_of(p, 11) for i in packed(row))
            lost = quality.get("podspy.samples.lost", [0])[0]
            found.append(Profile(all_of(p, 7)[0].hex(), pid, samples, lost))
    return found


# --- the server ---


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        double = self.server.double
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with double.lock:
            double.requests.append((time.monotonic(), self.path, dict(self.headers), body))
            plan = double.plan.pop(0) if double.plan else double.default
        try:
            plan(self, body)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def do_GET(self):
        self.server.double.gets.append(self.path)
        self.answer(200, b"")


def store(handler, body):
    """Takes the request: what podspy-collector does."""
    double = handler.server.double
    token = double.token
    if token and handler.headers.get("Authorization") != f"Bearer {token}":
        handler.answer(401, b'{"error": {"code": "unauthorized", "message": "no such token"}}')
        return
    double.keep(profiles(body, handler.headers["Content-Encoding"]))
    handler.answer(200)


def store_gzip_only(handler, body):
    """Unpacks gzip and calls all else a bad request, as some backends do."""
    if body[:2] == b"\x1f\x8b":
        store(handler, body)
    else:
        handler.answer(400, b"cannot parse the body")


def keep_and_cut(handler, body):
    """Stores, and the connection goes before the answer: the agent cannot know."""
    handler.server.double.keep(profiles(body))
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def status(code, text=b"", **headers):
    return lambda handler, body: handler.answer(code, text, **headers)


def hang(seconds):
    def plan(handler, body):
        handler.server.double.closing.wait(seconds)
        handler.close_connection = True

    return plan


def truncated(handler, body):
    handler.answer(200, b"half", Content_Length="4000")
    handler.close_connection = True


class Double:
    """The server; default is what it does once the plan is used up."""

    def __init__(self, cert, port=0, versions=None):
        self.lock = threading.Lock()
        self.plan, self.default, self.token = [], store, None
        self.requests, self.gets = [], []
        self.kept = collections.Counter()  # profile id -> times it came with a 200 or was cut
        self.samples, self.lost = {}, {}  # by profile id, as the collector's dedupe has them
        self.closing = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.server.double = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert)
        if versions:
            context.set_ciphers("DEFAULT@SECLEVEL=0")
            context.minimum_version, context.maximum_version = versions
        # The handshake happens in the thread of the connection, not in accept.
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = self.server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def keep(self, found):
        with self.lock:
            for p in found:
                self.kept[p.id] += 1
                self.samples[p.id] = (p.pid, p.samples)
                self.lost[p.id] = (p.pid, p.lost)

    def taken(self, pid=None):
        return sum(n for of, n in self.samples.values() if pid in (None, of))

    def told_lost(self, pid=None):
        return sum(n for of, n in self.lost.values() if pid in (None, of))

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
