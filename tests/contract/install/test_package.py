"""`make install` and the Debian packages put everything where it belongs, and it runs from there."""

import os
import re
import shutil
import subprocess

import pytest

AGENT = ["usr/bin/podspy", "usr/bin/kubectl-podspy", "etc/podspy/agent.yaml",
         "usr/lib/systemd/system/podspy-agent.service",
         "usr/share/bash-completion/completions/podspy", "usr/share/zsh/vendor-completions/_podspy",
         "usr/share/fish/vendor_completions.d/podspy.fish", "usr/share/man/man1/podspy.1",
         "usr/share/doc/podspy/copyright"]
COLLECTOR = ["usr/bin/podspy-collector", "etc/podspy/collector.yaml",
             "usr/lib/systemd/system/podspy-collector.service",
             "usr/share/bash-completion/completions/podspy-collector",
             "usr/share/zsh/vendor-completions/_podspy-collector",
             "usr/share/fish/vendor_completions.d/podspy-collector.fish",
             "usr/share/man/man1/podspy-collector.1", "usr/share/doc/podspy-collector/copyright"]


def run(*args, **kwargs):
    got = subprocess.run(args, capture_output=True, text=True, timeout=300, **kwargs)
    assert got.returncode == 0, f"{args}\n{got.stdout[-3000:]}\n{got.stderr[-3000:]}"
    return got.stdout


def files_of(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir())


@pytest.fixture(scope="session")
def packages(build_dir, tmp_path_factory):
    """{package: path of its .deb}, made from this build."""
    out = tmp_path_factory.mktemp("packages")
    run("cpack", "--config", build_dir / "CPackConfig.cmake", "-B", out)
    found = {p.name.split("_")[0]: p for p in out.glob("*.deb")}
    assert set(found) == {"podspy", "podspy-collector"}
    return found


@pytest.fixture(scope="session", params=[("podspy", AGENT), ("podspy-collector", COLLECTOR)],
                ids=lambda param: param[0])
def package(request, packages, tmp_path_factory):
    """(name, .deb, its files unpacked, what they should be)"""
    name, wanted = request.param
    root = tmp_path_factory.mktemp(name)
    run("dpkg-deb", "-x", packages[name], root)
    return name, packages[name], root, wanted


def installed(build_dir, root):
    run("cmake", "--install", build_dir, env={**os.environ, "DESTDIR": str(root)})


def test_install_places_every_file(build_dir, tmp_path, podspy_collector):
    installed(build_dir, tmp_path)
    assert files_of(tmp_path) == sorted(AGENT + COLLECTOR)


def test_install_keeps_the_users_configuration(build_dir, tmp_path):
    config = tmp_path / "etc" / "podspy" / "agent.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("mine\n")
    installed(build_dir, tmp_path)
    assert config.read_text() == "mine\n"


def test_a_package_holds_its_files_and_no_others(package):
    _, _, root, wanted = package
    assert files_of(root) == sorted(wanted)
    for path in root.rglob("*"):
        assert not path.stat().st_mode & 0o6022, f"{path} is setuid or writable by others"


def test_the_packaged_program_runs(package):
    name, _, root, _ = package
    assert re.fullmatch(rf"{name} \d+\.\d+\.\d+\n", run(root / "usr/bin" / name, "--version"))
    dynamic = run("readelf", "-d", root / "usr/bin" / name)
    assert "RUNPATH" not in dynamic and "NOW" in dynamic and "PIE" in dynamic


def test_a_package_depends_on_the_libraries_it_uses(package):
    name, deb, _, _ = package
    field = {k: run("dpkg-deb", "-f", deb, k).strip() for k in
             ["Package", "Version", "Depends", "Description", "Maintainer", "Architecture"]}
    assert field["Package"] == name and field["Maintainer"] and field["Description"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", field["Version"])
    uses = {"podspy": ["libc6", "libyaml-0-2", "libcurl3-gnutls"],
            "podspy-collector": ["libc6", "libmicrohttpd12", "libsqlite3-0", "libgnutls30"]}
    for library in uses[name]:
        assert re.search(rf"\b{re.escape(library)}\b", field["Depends"]), field["Depends"]


def test_the_configuration_is_kept_on_upgrade(package, tmp_path):
    _, deb, _, wanted = package
    run("dpkg-deb", "-e", deb, tmp_path)
    config = [f"/{f}" for f in wanted if f.startswith("etc/")]
    assert (tmp_path / "conffiles").read_text().split() == config


def test_the_maintainer_scripts_work_where_there_is_no_systemd(package, tmp_path):
    _, deb, _, _ = package
    run("dpkg-deb", "-e", deb, tmp_path)
    for script, argument in [("postinst", "configure"), ("prerm", "remove"), ("postrm", "purge")]:
        text = (tmp_path / script).read_text()
        assert "@" not in text, f"{script} has a place that was not filled in"
        run("sh", "-n", tmp_path / script)
        if not os.path.isdir("/run/systemd/system"):
            run(tmp_path / script, argument)


def test_the_units_start_what_is_installed(package):
    name, _, root, wanted = package
    unit = root / next(f for f in wanted if f.endswith(".service"))
    text = unit.read_text()
    command = re.search(r"^ExecStart=(\S+) .*--config (\S+)$", text, re.M)
    for path in command.groups():
        assert (root / path.lstrip("/")).is_file(), f"{unit.name} names {path}"
    assert "NoNewPrivileges=yes" in text
    if shutil.which("systemd-analyze"):
        got = subprocess.run(["systemd-analyze", "verify", "--root", root, f"/{unit.relative_to(root)}"],
                             capture_output=True, text=True)
        assert "Unknown" not in got.stderr and "Failed to parse" not in got.stderr, got.stderr
