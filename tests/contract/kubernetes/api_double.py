"""What the collector asks of the Kubernetes API, on loopback over TLS: Secrets and ConfigMaps with
resource versions, TokenReview and SubjectAccessReview; and the ways in which an API server fails."""

import base64
import http.server
import json
import ssl
import subprocess
import threading
import time

NAMESPACE = "watching"
AGENT = f"system:serviceaccount:{NAMESPACE}:podspy-agent"
AUDIENCE = "podspy-collector"


def jwt(**claims):
    """By its form a token; who vouches for it is the API double's list."""
    part = lambda x: base64.urlsafe_b64encode(json.dumps(x).encode()).rstrip(b"=").decode()
    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2lnbmF0dXJl"


def make_certificate(folder, purpose):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=api",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-addext", f"extendedKeyUsage={purpose}", "-keyout", folder / "api.key",
                    "-out", folder / "api.pem"], check=True, capture_output=True)


class Api:
    def __init__(self, folder, purpose="serverAuth"):
        make_certificate(folder, purpose)
        self.ca, self.token_file = folder / "api.pem", folder / "own.token"
        self.own_token = "the-collectors-own"
        self.token_file.write_text(self.own_token + "\n")
        self.lock = threading.Lock()
        self.objects = {}  # "secrets/NAME" -> object
        self.version = 0
        for name in ("secrets/tls", "configmaps/ca"):
            self.put(name, {})
        self.users = {}    # token -> (user name, audiences); "api" is the server's own audience
        self.readers = set()  # user names that may get the service
        self.asked = []    # method and path of each request
        self.questions = []  # bodies of the reviews
        self.fail = None   # status for all requests
        self.delay = 0     # seconds before each answer
        self.forbidden = set()  # (method, path) that the account may not
        self.knows_audiences = True
        handler = type("Handler", (_Handler,), {"api": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "api.pem", folder / "api.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                 do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def put(self, name, data):
        self.version += 1
        self.objects[name] = {"metadata": {"name": name.split("/")[1],
                                           "resourceVersion": str(self.version)}}
        if data:
            self.objects[name]["data"] = data

    def secret(self, key):
        return base64.b64decode(self.objects["secrets/tls"]["data"][key]).decode()

    def reviews(self):
        return sum(path.endswith("/tokenreviews") for _, path in self.asked)

    def config(self, **more):
        kubernetes = {"url": self.url, "ca_file": str(self.ca), "namespace": NAMESPACE,
                      "token_file": str(self.token_file), **more}
        return json.dumps({"tls": {"secret": "tls", "config_map": "ca"},
                           "auth": {"ingest": ["kubernetes"], "read": ["token", "kubernetes"],
                                    "kubernetes": kubernetes}})  # JSON is YAML

    # --- the answers ---

    def review_token(self, body):
        self.questions.append(body)
        spec = body["spec"]
        name, audiences = self.users.get(spec["token"], (None, []))
        wanted = spec.get("audiences") or ["api"]
        common = [a for a in wanted if a in audiences]
        if not name or not common:
            return {"status": {"authenticated": False, "error": "no"}}
        status = {"authenticated": True,
                  "user": {"username": name, "uid": "u-1", "groups": ["system:authenticated"],
                           "extra": {"pod": ["p-1"]}}}
        if self.knows_audiences:
            status["audiences"] = common
        return {"status": status}

    def review_access(self, body):
        self.questions.append(body)
        return {"status": {"allowed": body["spec"]["user"] in self.readers}}

    def replace(self, name, body):
        with self.lock:
            there = self.objects[name]
            if body["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
                return 409, {"message": "the object has been modified"}
            self.version += 1
            body["metadata"]["resourceVersion"] = str(self.version)
            self.objects[name] = body
        return 200, body

    def answer(self, method, path, body):
        if path == "/apis/authentication.k8s.io/v1/tokenreviews":
            return 201, self.review_token(body)
        if path == "/apis/authorization.k8s.io/v1/subjectaccessreviews":
            return 201, self.review_access(body)
        name = path.removeprefix(f"/api/v1/namespaces/{NAMESPACE}/")
        if name not in self.objects:
            return 404, {"message": f"{name} not found"}
        return (200, self.objects[name]) if method == "GET" else self.replace(name, body)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self):
        api = self.api
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with api.lock:
            api.asked.append((self.command, self.path))
        time.sleep(api.delay)
        if api.fail:
            status, answer = api.fail, {"message": "not now"}
        elif self.headers.get("Authorization") != f"Bearer {api.own_token}":
            status, answer = 401, {"message": "Unauthorized"}
        elif (self.command, self.path.rsplit("/", 1)[-1]) in api.forbidden:
            status, answer = 403, {"message": "forbidden"}
        else:
            status, answer = api.answer(self.command, self.path, json.loads(body or "null"))
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = _serve

    def log_message(self, *_):
        pass
