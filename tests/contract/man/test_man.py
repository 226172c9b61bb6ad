"""The man pages document every command and option of the programs, and no others."""

import re
import subprocess

import pytest


def help_of(*command):
    got = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60)
    assert got.returncode == 0, got.stderr
    return got.stdout


def long_options(text):
    return set(re.findall(r"^\s+(?:-., )?--([\w-]+)", text, re.M)) - {"usage", "help", "version"}


def documented(page):
    return set(re.findall(r"Fl Fl ([\w-]+)", page)) - {"help", "version"}


@pytest.fixture
def page(repo_dir):
    return lambda name: (repo_dir / "docs" / "man" / name).read_text()


def test_podspy_1_documents_every_command_and_option(podspy, page):
    commands = re.findall(r"^  ([a-z]+) ", help_of(podspy), re.M)
    assert commands
    sections = dict(re.findall(r"^\.Ss podspy (\w+)\n(.*?)(?=^\.S[sh] )", page("podspy.1"), re.M | re.S))
    assert set(commands) == set(sections)
    for command in commands:
        missing = long_options(help_of(podspy, command)) - documented(sections[command])
        assert not missing, f"podspy.1 does not tell of {command} {missing}"
    every = set().union(*(long_options(help_of(podspy, c)) for c in commands))
    assert documented(page("podspy.1")) == every


def test_podspy_collector_1_documents_every_option(podspy_collector, page):
    assert documented(page("podspy-collector.1")) == long_options(help_of(podspy_collector))


def examples(text):
    section = re.search(r"^\.Sh EXAMPLES\n(.*?)(?=^\.Sh )", text, re.M | re.S).group(1)
    return [line.replace("\\e", "") for line in re.findall(r"^\.Dl (.*)", section, re.M)]


def test_each_command_has_an_example_and_takes_its_options(podspy, podspy_collector, page):
    lines = examples(page("podspy.1"))
    commands = re.findall(r"^  ([a-z]+) ", help_of(podspy), re.M)
    for command in commands:
        mine = [line for line in lines if f"podspy {command} " in line + " "]
        assert mine, f"podspy.1 has no example of {command}"
        known = set(re.findall(r"(?<!\S)--?[\w-]+", help_of(podspy, command)))
        for line in mine:
            given = re.findall(r"(?<!\S)--?\w[\w-]*", re.split(r" (?:--|%s) " % "|".join(commands), line.split(f"podspy {command}")[1])[0])
            letters = {f"-{c}" for g in given if not g.startswith("--") for c in g[1:]}
            assert letters | {g for g in given if g.startswith("--")} <= known, line
    mine = [line for line in examples(page("podspy-collector.1")) if line.startswith("podspy-collector ")]
    assert mine and all(set(re.findall(r"--([\w-]+)", line)) <= long_options(help_of(podspy_collector)) for line in mine)
