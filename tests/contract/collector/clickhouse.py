"""A ClickHouse server of a test's own: its files in a folder, on a free port of 127.0.0.1."""

import pathlib
import shutil
import socket
import subprocess
import time
import urllib.parse

import requests

CONFIG = """<yandex>
<logger><level>warning</level><log>{folder}/log</log><errorlog>{folder}/errors</errorlog></logger>
<http_port>{port}</http_port><listen_host>127.0.0.1</listen_host>
<path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path>
<mark_cache_size>67108864</mark_cache_size><users_config>{folder}/users.xml</users_config>
<default_profile>default</default_profile><default_database>default</default_database>{more}
</yandex>
"""
USERS = """<yandex><profiles><default></default></profiles><users><podspy><password>pass-word</password>
<networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></podspy>
</users><quotas><default></default></quotas></yandex>
"""


ZOOKEEPER_JAR = pathlib.Path("/usr/share/java/zookeeper.jar")
REPLICA = """
<tcp_port>{tcp}</tcp_port><interserver_http_port>{interserver}</interserver_http_port>
<interserver_http_host>127.0.0.1</interserver_http_host>
<zookeeper><node><host>127.0.0.1</host><port>{zookeeper}</port></node>
<session_timeout_ms>4000</session_timeout_ms></zookeeper>
<macros><shard>1</shard><replica>{name}</replica></macros>"""


def program():
    """Where clickhouse-server is, or None."""
    return shutil.which("clickhouse-server", path="/usr/bin:/usr/sbin:/usr/local/bin")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def why_no_replicas():
    """Why there can be no replicated servers here, or None."""
    if not program():
        return "clickhouse-server is not installed: cmake/setup.sh test does"
    if not ZOOKEEPER_JAR.exists() or not shutil.which("java"):
        return "zookeeper (Debian's package, with a java) is not installed"
    return None


class ZooKeeper:
    def __init__(self, folder):
        folder.mkdir()
        self.port = free_port()
        (folder / "zoo.cfg").write_text(
            f"tickTime=1000\ndataDir={folder}\nclientPort={self.port}\n"
            "clientPortAddress=127.0.0.1\nadmin.enableServer=false\n")
        with open(folder / "output", "ab") as out:
            self.process = subprocess.Popen(
                ["java", "-Xmx128m", "-cp", ZOOKEEPER_JAR,
                 "org.apache.zookeeper.server.quorum.QuorumPeerMain", folder / "zoo.cfg"],
                cwd=folder, stdout=out, stderr=out)
        deadline = time.monotonic() + 120
        while True:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, (folder / "output").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def kill(self):
        self.process.kill()
        self.process.wait(60)

    def replica(self, name):
        """What the configuration of a server says that is one of its replicas."""
        return REPLICA.format(tcp=free_port(), interserver=free_port(), zookeeper=self.port,
                              name=name)


class Server:
    def __init__(self, folder, more=""):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (self.folder / "config.xml").write_text(
            CONFIG.format(folder=self.folder, port=self.port, more=more))
        (self.folder / "users.xml").write_text(USERS)
        self.password = self.folder / "password"
        self.password.write_text("pass-word\n")
        self.start()

    def start(self):
        with open(self.folder / "output", "ab") as out:
            self.process = subprocess.Popen(
                [program(), f"--config-file={self.folder}/config.xml"], cwd=self.folder,
                stdout=out, stderr=out)
        deadline = time.monotonic() + 120
        while True:
            try:
                if requests.get(f"{self.url}/ping", timeout=10).ok:
                    return
            except requests.RequestException:
                pass
            assert self.process.poll() is None, (self.folder / "output").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def kill(self):
        self.process.kill()
        self.process.wait(60)

    def ask(self, sql, database="podspy"):
        """The answer's text."""
        answer = requests.post(f"{self.url}/?" + urllib.parse.urlencode(
            {"database": database, "query": sql}), timeout=120,
            headers={"X-ClickHouse-User": "podspy", "X-ClickHouse-Key": "pass-word"})
        assert answer.ok, answer.text
        return answer.text.strip()

    def store(self, **more):
        """The collector's configuration for it."""
        keys = {"url": self.url, "user": "podspy", "password_file": self.password, **more}
        return "store: {kind: clickhouse, " + ", ".join(
            f"{k}: '{v}'" for k, v in keys.items()) + "}\n"
