"""Every statement of the ClickHouse store on a current engine: npm's chdb, behind chdb_server.js."""

import os
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent
# Where `npm install chdb` was run.
CHDB = os.environ.get("PODSPY_CHDB", "/opt/podspy-chdb")


def _why_not():
    if not shutil.which("node"):
        return "node is not installed: cmake/setup.sh test does"
    if not (pathlib.Path(CHDB) / "node_modules/chdb").exists():
        return f"chdb is not installed: npm install --prefix {CHDB} chdb (PODSPY_CHDB names its folder)"
    return None


@pytest.fixture(name="engine", scope="module")
def _engine(tmp_path_factory):
    if why := _why_not():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("chdb")
    errors = folder / "errors"
    with open(errors, "wb") as err:
        process = subprocess.Popen(
            ["node", HERE / "chdb_server.js", folder], stdout=subprocess.PIPE, stderr=err,
            env=dict(os.environ, NODE_PATH=f"{CHDB}/node_modules"))
    try:
        port, version = process.stdout.readline().decode().split()
        yield port, version, errors
    finally:
        process.kill()
        process.wait(60)


def test_every_statement_works_on_a_current_engine(engine, build_dir, capsys):
    port, version, errors = engine
    done = subprocess.run([build_dir / "bin/store_statements"], capture_output=True, text=True,
                          timeout=400, env=dict(os.environ, PODSPY_STORE_KIND="clickhouse",
                                                PODSPY_CLICKHOUSE_PORT=port))
    assert done.returncode == 0, done.stdout + done.stderr + errors.read_text()[-4000:]
    assert "[  PASSED  ] 1 test" in done.stdout + done.stderr, done.stdout
    with capsys.disabled():
        print(f"\nevery statement of the store ran on ClickHouse {version}")
