"""Files opened in the real speedscope: its own format, chrometrace and raw, whose numbers all must be shown."""

import collections
import json
import re
import shutil
import time

import pytest

pytest.importorskip("selenium", reason="install python3-selenium")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.actions.action_builder import ActionBuilder  # noqa: E402

import targets  # noqa: E402
from browsing import errors_of  # noqa: E402

PHASES = """
import time
def alpha(seconds):
    end = time.time() + seconds
    while time.time() < end: pass
def beta(seconds):
    alpha(seconds)
alpha(0.4)
beta(0.8)
alpha(0.6)
"""
FIRST_ROW, ROW = 152, 20  # in pixels: the middle of the outermost frames, and the height of all
UNITS = {"s": 1, "ms": 1e-3, "µs": 1e-6}


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("not within %d s" % seconds)


def body(browser):
    return browser.execute_script("return document.body.innerText")


@pytest.fixture
def speedscope(browser, serve, speedscope_dir, tmp_path):
    """speedscope(data, title) opens them in the app."""

    def open_it(data, title):
        shutil.copytree(speedscope_dir, tmp_path / "app")
        (tmp_path / "app" / "profile").write_bytes(data)
        base = serve(tmp_path / "app")
        errors_of(browser)
        browser.get("about:blank")
        browser.get(f"{base}/#profileURL={base}/profile&viewer=1")
        wait_for(lambda: title in browser.title)

    yield open_it
    assert [e for e in errors_of(browser) if e["level"] == "SEVERE"] == []


def press(browser, key):
    ActionChains(browser).send_keys(key).perform()


# --- the sandwich view: the functions as text ---

def rows_of_sandwich(browser):
    """{name: (total, self)} as speedscope writes them."""
    press(browser, "3")
    text = wait_for(lambda: body(browser) if "Symbol Name" in body(browser) else None)
    rows = re.findall(r"^(\S+) \([^)]+\)\n\t(\S+) \([^)]+\)\n\t(.*)$", text.partition("Symbol Name\n")[2], re.M)
    return {name: (total, own) for total, own, name in rows}


@pytest.mark.parametrize("flags", [[], ["idle"]], ids=" ".join)
def test_speedscope_opens_it_and_shows_the_functions(browser, speedscope, make_profile, flags):
    speedscope(make_profile("speedscope", "title=shop", *flags), "shop")
    shown = " ".join(rows_of_sandwich(browser))
    assert "busy_70" in shown and "busy_30" in shown and "checkout" in shown


def test_the_counts_of_raw_are_shown(browser, speedscope, make_profile):
    speedscope(make_profile("raw"), "profile")
    rows = rows_of_sandwich(browser)
    assert rows["busy_70 (app/work.py:12)"] == ("700", "700")
    assert rows["busy_30 (app/work.py:20)"] == ("200", "200") and rows["busy_30 (app/work.py:21)"] == ("100", "100")
    assert rows["checkout (app/views.py:42)"] == ("300", "0")
    assert rows["walk (app/tree.py:9)"] == ("120", "0")  # recursion counts once
    assert sum(int(own.replace(",", "")) for _, own in rows.values()) == 1605


def test_the_times_of_chrometrace_are_shown(browser, speedscope, make_profile):
    speedscope(make_profile("chrometrace"), "profile")
    rows = rows_of_sandwich(browser)  # of the first thread
    assert rows['deep {"filename":"/srv/shop/app/tree.py","line":30}'] == ("600.00ms", "600.00ms")
    assert rows['[truncated] {"filename":""}'] == ("600.00ms", "0.00ns")


# --- the views of calls: what is shown below the mouse ---

class Call:
    def __init__(self, start, frames):
        self.start, self.frames, self.weight = start, frames, 0.0  # frames: from the outermost to its own

    def __repr__(self):
        return "%s from %.3f for %.3f s" % (self.frames, self.start, self.weight)


def in_order(profile):
    """The calls as Time Order has them: each lasts while the same frames stay around it."""
    calls, open_calls, at = [], [], 0.0
    for stack, weight in zip(profile["samples"], profile["weights"]):
        same = 0
        while same < min(len(open_calls), len(stack)) and open_calls[same].frames[-1] == stack[same]:
            same += 1
        open_calls[same:] = [Call(at, stack[:depth]) for depth in range(same + 1, len(stack) + 1)]
        calls += open_calls[same:]
        for call in open_calls:
            call.weight += weight
        at += weight
    return calls


def left_heavy(profile):
    """The calls of all samples, merged, the heaviest first."""
    weights = collections.Counter()
    for stack, weight in zip(profile["samples"], profile["weights"]):
        for depth in range(1, len(stack) + 1):
            weights[tuple(stack[:depth])] += weight
    found = []

    def place(outer, start):
        inner = [s for s in weights if len(s) == len(outer) + 1 and s[:-1] == outer]
        for stack in sorted(inner, key=lambda s: -weights[s]):
            found.append(Call(start, list(stack)))
            found[-1].weight = weights[stack]
            place(stack, start)
            start += weights[stack]

    place((), 0.0)
    return found


def below_mouse(browser, x, y):
    """(seconds, name) of the call that speedscope describes; None: it describes none."""
    action = ActionBuilder(browser)
    action.pointer_action.move_to_location(round(x), round(y))
    action.perform()
    found = re.search(r"^([\d.]+)(s|ms|µs) \([^)]*\) (.*)$", body(browser), re.M)
    return (float(found[1]) * UNITS[found[2]], found[3]) if found else None


VIEWS = {"1": in_order, "2": left_heavy}  # by their keys


@pytest.mark.parametrize("key", VIEWS, ids=["Time Order", "Left Heavy"])
def test_the_calls_stand_where_and_as_long_as_they_were(browser, speedscope, podspy, tmp_path, key):
    out = tmp_path / "recorded"
    r = targets.run([podspy, "record", "-i", "-f", "speedscope", "-o", out, "--", "/usr/bin/python3", "-c", PHASES])
    assert r.returncode == 0, r.stderr
    recorded = json.loads(out.read_text())
    [profile] = recorded["profiles"]
    calls, total = VIEWS[key](profile), sum(profile["weights"])
    speedscope(out.read_bytes(), "speedscope")
    press(browser, key)
    width = browser.execute_script("return innerWidth")
    names = [f["name"] for f in recorded["shared"]["frames"]]
    wide = [c for c in calls if c.weight / total * width > 20]
    assert {"<module>", "alpha", "beta"} <= {names[c.frames[-1]] for c in wide}
    if key == "1":
        assert [names[c.frames[1]] for c in wide if len(c.frames) == 2][-3:] == ["alpha", "beta", "alpha"]
    for call in wide:
        x, y = (call.start + call.weight / 2) / total * width, FIRST_ROW + ROW * (len(call.frames) - 1)
        seconds, name = wait_for(lambda: below_mouse(browser, x, y))
        assert (name, seconds) == (names[call.frames[-1]], pytest.approx(call.weight, rel=0.01)), call
