"""A target whose threads all hold still in shapes of every kind; prints what sys._current_frames()
says of each, by native thread id, as one line of JSON."""
import asyncio
import contextlib
import functools
import json
import re
import sys
import threading
import time

HOLD = threading.Event()
sys.setrecursionlimit(30000)
threading.stack_size(256 << 20 if sys.version_info < (3, 12) else 64 << 20)
READY = threading.Semaphore(0)


def hold():
    READY.release()
    HOLD.wait()


def plain():
    x = 1
    hold()
    return x


def deep(n=10000):
    if n:
        return deep(n - 1)
    return hold()


def generator():
    def inner(n):
        for i in range(n):
            if i == 2:
                hold()
            yield i

    def through():
        yield from inner(5)

    for _ in through():
        pass


def asynchronous():
    async def last():
        hold()

    async def middle():
        async with contextlib.AsyncExitStack():
            await last()

    async def first():
        await asyncio.gather(middle())

    asyncio.run(first())


def agen():
    async def numbers():
        for i in range(3):
            yield i

    async def use():
        async for i in numbers():
            if i == 1:
                hold()

    asyncio.run(use())


def comprehensions():
    return [{k: sum(hold() or 0 for _ in range(2)) for k in "ab"} for _ in range(2)]


def executed():
    exec(compile("\n\ndef f():\n    hold()\n\n\nf()\n", "<made up>", "exec"), {"hold": hold})


def unicode_names():
    scope = {"hold": hold}
    exec(compile("def функция():\n\n  hold()\nфункция()\n", "dir/файл-\N{SNAKE}.py", "exec"), scope)


def latin_names():
    exec(compile("def caf\xe9():\n  hold()\ncaf\xe9()\n", "/opt/\xe9t\xe9.py", "exec"), {"hold": hold})


def surrogates():
    scope = {"hold": hold}
    exec(compile("def f():\n  hold()\n", "bad-\udcff.py", "exec"), scope)
    f = scope["f"]
    f.__code__ = f.__code__.replace(co_name="x\ud800y", co_qualname="q.x\ud800y\N{SNAKE}")
    f()


def long_name():
    name = "n" * 3000
    exec(compile("def %s():\n  hold()\n%s()\n" % (name, name), "/" + "d" * 3000 + ".py", "exec"), {"hold": hold})


def class_body():
    class Outer:
        class Inner:
            value = hold()

    return Outer


def methods():
    class A:
        def __init__(self):
            self.x = self.prop

        @property
        def prop(self):
            return A.static()

        @staticmethod
        def static():
            return A.cls()

        @classmethod
        def cls(cls):
            return (lambda: hold())()

    A()


def callbacks():
    def by_key(x):
        return re.sub("b", lambda m: hold() or "c", "abc") and x

    return sorted([1], key=functools.partial(by_key))


def dunder():
    class N:
        def __add__(self, other):
            return str(self)

        def __str__(self):
            hold()
            return ""

    return N() + 1


def handlers():
    try:
        try:
            raise ValueError
        finally:
            with contextlib.suppress(KeyError):
                hold()
    except ValueError:
        pass


def multi_line():
    return max(
        1,
        2,
        hold() or 3,
    )


SHAPES = [plain, deep, generator, asynchronous, agen, comprehensions, executed, unicode_names,
          latin_names, surrogates, long_name, class_body, methods, callbacks, dunder, handlers,
          multi_line]


def stack(frame):
    out = []
    while frame:
        code = frame.f_code
        out.append([code.co_qualname, code.co_filename, frame.f_lineno or 0])
        frame = frame.f_back
    return out


def report():
    """All shapes wait in Event.wait by now: what they look like does not change any more."""
    time.sleep(0.3)
    frames = sys._current_frames()
    said = {}
    for t in threads:
        said[t.native_id] = {"shape": t.name, "ident": t.ident, "frames": stack(frames[t.ident])}
    print(json.dumps(said), flush=True)
    HOLD.wait()


threads = [threading.Thread(target=f, name=f.__name__, daemon=True) for f in SHAPES]
for t in threads:
    t.start()
for t in threads:
    READY.acquire()
report()
