"""The real images on the cluster's node: `make images` builds them, and they are imported where the kubelet looks for them.

PODSPY_IMAGES=archives  build/images/*.tar are loaded as they are, however old
PODSPY_IMAGES=present   they are on every node already; nothing is built or loaded
IMAGE_LOAD_CMD          what loads an archive, given its path as the last word, e.g. "kind load image-archive";
                        without it `devcluster load`, or else ctr -n k8s.io images import
"""

import os
import pathlib
import re
import shlex
import subprocess

from cluster import devcluster

REPO = pathlib.Path(__file__).resolve().parents[3]
FOLDER = REPO / "build" / "images"
NAMES = ("agent", "collector", "demo")
# What decides over the contents of the images, as build-images.sh hands it over.
SOURCES = ("agent", "collector", "shared", "cmake", "deploy/docker", "CMakeLists.txt", "CMakePresets.json")
VERSION = re.search(r"project\(podspy VERSION ([\d.]+)", (REPO / "CMakeLists.txt").read_text())[1]


def _newest_source():
    found = subprocess.run(["git", "-C", REPO, "ls-files", "-co", "--exclude-standard", "--", *SOURCES],
                           capture_output=True, text=True, check=True).stdout.split("\n")
    return max((REPO / name).stat().st_mtime for name in found if name and (REPO / name).exists())


def _are_there():
    archives = [FOLDER / f"{name}.tar" for name in NAMES]
    return all(a.exists() for a in archives) and min(a.stat().st_mtime for a in archives) > _newest_source()


def _build():
    # The progress is shown: it takes minutes where nothing is cached.
    subprocess.run([REPO / "deploy" / "docker" / "build-images.sh"], check=True, timeout=1200)


def _load_command():
    if os.environ.get("IMAGE_LOAD_CMD"):
        return shlex.split(os.environ["IMAGE_LOAD_CMD"])
    if devcluster():
        return [devcluster(), "load"]
    return ["ctr", "-n", "k8s.io", "images", "import"]


def load():
    if os.environ.get("PODSPY_IMAGES") == "present":
        return
    if os.environ.get("PODSPY_IMAGES") != "archives" and not _are_there():
        _build()
    for name in NAMES:
        done = subprocess.run([*_load_command(), FOLDER / f"{name}.tar"], capture_output=True, text=True)
        assert done.returncode == 0, f"podspy/{name} is not loaded: {done.stderr}"
