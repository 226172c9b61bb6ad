#!/usr/bin/env python3
"""What the page takes in Chromium: a flamegraph of 100,000 nodes (first paint, zoom, search) and a table of 5,000 pods
(first rows, type-ahead). Wall time in the browser, and how much of it the page's own thread was busy.

    page.py [--build BUILD] [--nodes N] [--pods N]
"""

import argparse
import pathlib
import random
import statistics
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "tests" / "contract" / part) for part in ("", "web", "collector")]

import browsing  # noqa: E402
from collector import Batch, Collector, labels  # noqa: E402
from page import Page, wait_for  # noqa: E402

TIMES = 15
# The time from when an answer is there to when what it holds is drawn: the last call that draws before the page rests.
WATCH = """
window.drawn = 0; window.came = {};
const fill = CanvasRenderingContext2D.prototype.fillRect;
CanvasRenderingContext2D.prototype.fillRect = function (...a) { window.drawn = performance.now(); return fill.apply(this, a); };
const json = Response.prototype.json;
Response.prototype.json = async function () {
  const text = await this.text(); window.came[new URL(this.url).pathname] = performance.now(); return JSON.parse(text); };
window.timed = async (act) => {
  const before = performance.now(); act(); const busy = performance.now() - before;
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return [performance.now() - before, busy]; };
"""


class Large(Batch):
    """A batch whose functions and locations are listed once."""

    def __init__(self):
        super().__init__()
        self.known = {}

    def place(self, frame):
        if frame not in self.known:
            function, file, line = frame
            d = self.request.dictionary
            d.function_table.add(name_strindex=self._string(function), filename_strindex=self._string(file))
            d.location_table.add().lines.add(function_index=len(d.function_table) - 1, line=line)
            self.known[frame] = len(d.location_table) - 1
        return self.known[frame]

    def _stack(self, frames):
        d = self.request.dictionary
        d.stack_table.add().location_indices.extend([self.place(f) for f in reversed(frames)])
        return len(d.stack_table) - 1


def large_tree(nodes):
    """Stacks whose tree has so many nodes, up to 40 deep."""
    chance = random.Random(1)
    frames = [(f"function_{i}", f"/srv/shop/module_{i % 300}.py", i % 900 + 1) for i in range(8000)]
    stacks, paths, made = [], [()], 1
    while made < nodes:
        outer = paths[chance.randrange(max(0, len(paths) - 4000), len(paths))]
        more = tuple(chance.choice(frames) for _ in range(chance.randint(1, 6)))
        path = (outer + more)[:40]
        made += len(path) - len(outer)
        stacks.append((path, chance.randint(1, 40), "running", 11, "MainThread"))
        paths.append(path)
    b = Large()
    b.add(labels(pod="large"), stacks)
    return b.bytes()


def say(what, times, bound):
    wall, busy = (sorted(t[i] for t in times) for i in (0, 1))
    print(f"{what:44} {statistics.median(wall):7.1f} ms, {wall[-1]:7.1f} at most; busy {statistics.median(busy):6.1f} ms"
          f"   (wanted: below {bound})", flush=True)


def timed(page, act):
    return page.driver.execute_async_script(f"timed(() => {{ {act} }}).then(arguments[0])")


def flamegraph(page):
    firsts = []
    for _ in range(5):
        page.open("/#/profile?pod=large")
        wait_for("the flamegraph", lambda: page.script("return drawn > (came['/profiles'] ?? Infinity)"), 60)
        firsts.append([page.script("return drawn - came['/profiles']")] * 2)
    print(page.text(".graphs .flame-line"))
    say("flamegraph: from the answer to its first paint", firsts, 300)
    canvas = "document.querySelector('.graphs canvas')"
    press = f"for (const key of arguments_) {canvas}.dispatchEvent(new KeyboardEvent('keydown', {{key, bubbles: true}}))"
    zooms = []
    for _ in range(TIMES):
        page.script(press.replace("arguments_", "['ArrowDown', 'ArrowDown']"))
        zooms.append(timed(page, press.replace("arguments_", "['Enter']")))
        zooms.append(timed(page, press.replace("arguments_", "['Escape']")))
    say("flamegraph: zoom", zooms, 50)


def table(page):
    page.open("/#/pods?by=none")
    wait_for("the pods", lambda: "pods" in page.text(".counts"), 60)
    print(page.text(".counts"))
    box, times = "document.querySelector('#pods-search')", []
    for text in ("p", "po", "pod", "pod-4", "pod-49", "pod-499", "pod-4999", "", "x", "shop-9") * 3:
        times.append(timed(page, f"{box}.value = '{text}'; {box}.dispatchEvent(new Event('input', {{bubbles: true}}))"))
    say("pods: type-ahead", times, 50)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=REPO / "build" / "bench", type=pathlib.Path)
    parser.add_argument("--nodes", default=100000, type=int)
    parser.add_argument("--pods", default=5000, type=int)
    options = parser.parse_args()
    load = pathlib.Path("/proc/loadavg").read_text().split()[0]
    print(f"load before: {load}", flush=True)
    with tempfile.TemporaryDirectory() as folder, browsing.chromium(f"{folder}/chromium") as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": Page.WATCH + WATCH})
        for data, measure in ((lambda: [large_tree(options.nodes)], flamegraph), (lambda: pods(options.pods), table)):
            c = Collector(options.build / "bin" / "podspy-collector", f"{folder}/{measure.__name__}")
            for body in data():
                answer = c.push(body)
                assert answer.status_code == 200, answer.text
            try:
                measure(Page(driver, f"http://127.0.0.1:{c.http}"))
            finally:
                c.stop()


def pods(n):
    for first in range(0, n, 500):
        b = Large()
        for i in range(first, min(first + 500, n)):
            own = labels(pod=f"pod-{i}", pid=1000 + i, **{"service.name": f"shop-{i % 97}", "container.id": f"c{i}"})
            b.add(own, [([("main", "/srv/a.py", 1)], i % 50 + 1, "running", 11, "MainThread")], start=time.time() - 20)
        yield b.bytes()


if __name__ == "__main__":
    main()
