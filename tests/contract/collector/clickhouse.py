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


def program():
    """Where clickhouse-server is, or None."""
    return shutil.which("clickhouse-server", path="/usr/bin:/usr/sbin:/usr/local/bin")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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
