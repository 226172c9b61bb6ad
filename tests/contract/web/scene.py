"""What the tests of the page look at: a shop whose new image is slow, and pods that fare badly, as OTLP."""

import time

from collector import Batch

APP = "/srv/shop"
SITE = "/usr/lib/python3/dist-packages"
GUNICORN = [("<module>", "/usr/bin/gunicorn", 8), ("run", f"{SITE}/gunicorn/arbiter.py", 209),
            ("handle_request", f"{SITE}/gunicorn/workers/sync.py", 178)]
SEARCH = [*GUNICORN, ("application", f"{APP}/shop/wsgi.py", 12), ("search", f"{APP}/shop/views.py", 31)]
HOT = [*SEARCH, ("suggest", f"{APP}/shop/search.py", 55), ("edit_distance", f"{APP}/shop/search.py", 71)]
RENDER = [*SEARCH, ("render", f"{SITE}/jinja2/environment.py", 1301)]
WAIT = [*GUNICORN[:2], ("wait", f"{SITE}/gunicorn/workers/sync.py", 35)]
LOCK = [("main", f"{APP}/hung.py", 5), ("pay", f"{APP}/hung.py", 20), ("wait", "/usr/lib/python3.11/threading.py", 320)]
WINDOW = 10  # seconds
EVIL = '<img src=x onerror="window.pwned=1">'
EVILS = [EVIL, '"><script>window.pwned=2</script>', "javascript:window.pwned=3", "${window.pwned=4}",
         "</title><svg onload=window.pwned=5>"]


class Scene(Batch):
    """A batch whose profiles have what an agent adds: parents, the kernel's count, quality."""

    def window(self, labels, stacks, start, account=None, quality=None):
        self.add(labels, [s[:5] for s in stacks], start=start, seconds=WINDOW)
        profile = self.request.resource_profiles[-1].scope_profiles[-1].profiles[-1]
        for key, value in (account or {}).items():
            profile.attribute_indices.append(self._attribute(f"podspy.{key}", value))
        for key, value in (quality or {"clean": 980, "salvaged": 15, "paused": 5}).items():
            profile.attribute_indices.append(self._attribute(f"podspy.samples.{key}", value))


def labels(pod, service, pid, command, image="shop:1", **more):
    return {"k8s.pod.name": pod, "k8s.namespace.name": "shop", "k8s.container.name": "web", "k8s.node.name": "node-1",
            "container.id": f"c0ffee{pod}", "container.image.name": image, "service.name": service, "process.pid": pid,
            "podspy.process.ns_pid": pid % 100, "process.command": command, "process.runtime.name": "cpython",
            "process.runtime.version": "3.11.2", **{k.replace("_", "."): v for k, v in more.items()}}


def worker(hot, cold, idle=700):
    return [(HOT, hot, "running", 11, "MainThread"), (RENDER, cold, "running", 11, "MainThread"),
            (WAIT, idle, "waiting", 11, "MainThread"),
            (WAIT, 900, "waiting", 12, "metrics")]


def shop(batch, pod, image, hot, begins, windows):
    """Two gunicorn workers below their master; one window is missing, one lost samples."""
    command = "/usr/bin/python3 /usr/bin/gunicorn shop:app --workers 2"
    for n in range(windows):
        start = begins + n * WINDOW
        if n == windows // 2:
            continue
        for k, pid in enumerate((27811, 27812)):
            own = labels(pod, "checkout", pid, command, image=image)
            own["podspy.process.parent_pid"] = 27800
            batch.window(own, worker(hot + 10 * k, 40, 900 - hot), start,
                         account={"cpu.ns": (hot + 40) * 10_000_000, "runqueue.ns": 200_000_000},
                         quality={"clean": 700, "lost": 200, "failed": 50, "paused": 20} if n == 1 else None)


def whole(now=None):
    """The bytes of it all. The latest window has just ended."""
    now = now or time.time()
    b = Scene()
    shop(b, "checkout-7d9f-aaaaa", "shop:1", 60, now - 600, 30)
    shop(b, "checkout-8e2a-bbbbb", "shop:2", 420, now - 250, 25)
    for n in range(6):
        b.window(labels("hung-0", "hung", 50, "python3 /srv/shop/hung.py", image="hung:3"),
                 [(LOCK, 1000, "waiting", 50, "MainThread"), (HOT, 300, "running", 51, "worker-1"),
                  (RENDER, 200, "runnable", 51, "worker-1")], now - (6 - n) * WINDOW,
                 account={"cpu.ns": 900_000_000, "throttled.ns": 4_000_000_000, "throttled.periods": 60})
    b.window(labels("quiet-0", "quiet", 60, "python3 quiet.py"), worker(20, 20), now - 800)
    empty = labels("empty-0", "empty", 70, "python3 empty.py")
    empty["podspy.problem"] = "cannot be read: Operation not permitted"
    b.window(empty, [], now - 15, quality={"failed": 10})
    hostile = labels(EVIL, EVILS[1], 80, f"python3 {EVIL}", image=EVILS[2])
    hostile["k8s.namespace.name"] = EVILS[4]
    for n in range(3):
        b.window(hostile, [([(e, f"{APP}/{e}.py", 3) for e in EVILS], 500, "running", 80, EVIL),
                           ([(EVIL, EVILS[1], 1)], 100, "waiting", 81, EVILS[1])], now - (3 - n) * WINDOW)
    return b.bytes()
