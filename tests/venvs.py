"""The virtual environments with frameworks from PyPI that tests run podspy against, each with one of them.

    python3 tests/venvs.py [NAME...]      makes those that are missing, or these; it needs PyPI

They are in $PODSPY_VENVS, else in build/venvs. Nothing is installed for a test: a test whose environment is not there is
skipped, and says this command.
"""

import os
import pathlib
import subprocess
import sys

PACKAGES = {
    "flask": ["flask", "gunicorn"],
    "django": ["django", "djangorestframework"],
    "fastapi": ["fastapi", "uvicorn", "uvloop", "httptools"],
    "starlette": ["starlette", "uvicorn"],
    "aiohttp": ["aiohttp"],
    "tornado": ["tornado"],
    "sanic": ["sanic"],
    "grpc": ["grpcio"],
    "celery": ["celery"],
    "rq": ["rq", "fakeredis"],
    "dramatiq": ["dramatiq"],
    "airflow": ["apache-airflow"],
}
FOLDER = pathlib.Path(os.environ.get("PODSPY_VENVS") or pathlib.Path(__file__).resolve().parents[1] / "build/venvs")


def python(name):
    """Its interpreter; None where it was not made."""
    path = FOLDER / name
    return path / "bin/python" if (path / "ok").exists() else None


def why_missing(name):
    return f"no {name} from PyPI here: python3 tests/venvs.py {name}"


def make(name):
    path = FOLDER / name
    subprocess.run([sys.executable, "-m", "venv", path], check=True)
    subprocess.run([path / "bin/pip", "install", "-q", "--disable-pip-version-check", *PACKAGES[name]], check=True)
    (path / "ok").touch()


if __name__ == "__main__":
    for wanted in sys.argv[1:] or PACKAGES:
        if not python(wanted):
            print(f"{wanted}: {' '.join(PACKAGES[wanted])}", flush=True)
            make(wanted)
