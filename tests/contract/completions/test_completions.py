"""`podspy completions SHELL` and the collector's completion files offer what the programs take."""

import re
import shutil
import subprocess

import pytest

SHELLS = ["bash", "zsh", "fish"]


def run(*args):
    return subprocess.run(args, capture_output=True, text=True, timeout=60)


def help_of(*command):
    got = run(*command, "--help")
    assert got.returncode == 0, got.stderr
    return got.stdout


def long_options(text):
    """Every --option that a help text lists, at the start of its lines."""
    return set(re.findall(r"^\s+(?:-., )?--([\w-]+)", text, re.M)) - {"usage"}


@pytest.fixture(scope="session")
def commands(podspy):
    """{subcommand: its long options}, from the help texts, as a user learns them."""
    names = re.findall(r"^  ([a-z]+) ", help_of(podspy), re.M)
    assert {"record", "dump", "agent", "completions"} <= set(names)
    return {name: long_options(help_of(podspy, name)) for name in names}


@pytest.fixture(params=SHELLS)
def script(request, podspy, tmp_path):
    got = run(podspy, "completions", request.param)
    assert got.returncode == 0 and got.stderr == ""
    path = tmp_path / f"completion.{request.param}"
    path.write_text(got.stdout)
    return request.param, path


def need(shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed: cmake/setup.sh test installs it")


def check_syntax(shell, path):
    need(shell)
    got = run(shell, "-n", path)
    assert got.returncode == 0 and got.stderr == ""


def bash_offers(path, *words):
    """What bash offers for the last word."""
    function = "_" + words[0].replace("-", "_")
    code = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
            f'{function}; printf "%s\\n" "${{COMPREPLY[@]}}"')
    got = run("bash", "-c", code, "bash", path, *words)
    assert got.returncode == 0, got.stderr
    return set(got.stdout.split())


def fish_offers(path, line):
    got = run("fish", "--no-config", "-c", f"source {path}; complete -C '{line}'")
    assert got.returncode == 0, got.stderr
    return {found.split("\t")[0] for found in got.stdout.splitlines()}


def test_the_script_parses(script):
    check_syntax(*script)


def test_every_command_and_option_is_in_the_script(script, commands):
    shell, path = script
    text = path.read_text()
    for command, options in commands.items():
        assert re.search(rf"\b{command}\b", text)
        for option in options:
            assert re.search(rf"(--|-l ){option}\b", text), f"{shell}: {command} --{option}"


def test_bash_offers_commands_options_and_values(podspy, tmp_path, commands):
    path = tmp_path / "completion"
    path.write_text(run(podspy, "completions", "bash").stdout)
    assert set(commands) <= bash_offers(path, "podspy", "")
    assert bash_offers(path, "podspy", "rec") == {"record"}
    for command, options in commands.items():
        assert {f"--{o}" for o in options} == bash_offers(path, "podspy", command, "--"), command
    assert bash_offers(path, "podspy", "record", "-f", "fl") == {"flamegraph"}
    assert bash_offers(path, "podspy", "agent", "--log-level", "") == {"error", "warn", "info", "debug"}
    assert bash_offers(path, "podspy", "completions", "z") == {"zsh"}
    assert "1" in bash_offers(path, "podspy", "dump", "--pid", "1")


def test_fish_offers_commands_options_and_values(podspy, tmp_path, commands):
    need("fish")
    path = tmp_path / "completion.fish"
    path.write_text(run(podspy, "completions", "fish").stdout)
    assert set(commands) <= fish_offers(path, "podspy ")
    for command, options in commands.items():
        assert {f"--{o}" for o in options} == fish_offers(path, f"podspy {command} --"), command
    assert fish_offers(path, "podspy record --format sp") == {"speedscope"}
    assert fish_offers(path, "podspy agent --log-format ") == {"logfmt", "json"}
    assert fish_offers(path, "podspy completions z") == {"zsh"}


def test_zsh_loads_the_script(podspy, tmp_path):
    need("zsh")
    (tmp_path / "_podspy").write_text(run(podspy, "completions", "zsh").stdout)
    code = (f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -D -u; "
            "print ${_comps[podspy]}; autoload +X _podspy && print loaded")
    got = run("zsh", "-f", "-c", code)
    assert got.stdout.split() == ["_podspy", "loaded"], got.stderr


@pytest.mark.parametrize("args", [[], ["tcsh"], ["bash", "zsh"]])
def test_an_unknown_shell_is_a_usage_error(podspy, args):
    got = run(podspy, "completions", *args)
    assert got.returncode == 2 and got.stdout == ""
    assert got.stderr.strip()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_collectors_files_parse_and_offer_its_options(shell, repo_dir, podspy_collector):
    path = repo_dir / "cmake" / "completions" / f"podspy-collector.{shell}"
    check_syntax(shell, path)
    options = long_options(help_of(podspy_collector))
    assert {"config", "listen", "data"} <= options
    found = set(re.findall(r"(?:--|-l )([a-z][\w-]*)", path.read_text()))
    assert options == found - {"usage"}
