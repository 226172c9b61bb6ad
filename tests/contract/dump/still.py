# -*- coding: utf-8 -*-
"""A target whose threads all hold still in shapes of every kind; prints what sys._current_frames()
says of each, by native thread id, as one line of JSON. Runs on 2.7 and later; what needs the syntax
of 3.3, 3.5 and 3.6 is in still3.py, still35.py and still36.py, beside it."""
import contextlib
import functools
import json
import platform
import re
import sys
import threading
import time

if sys.version_info >= (3, 12):
    threading.stack_size(64 << 20)
else:  # each Python call takes some of the C stack, several times as much in a debug build
    threading.stack_size(256 << 20)
sys.setrecursionlimit(30000)
HOLD = threading.Event()
READY = threading.Semaphore(0)
NATIVE = {}  # ident -> the system's id of the thread


def native_id():
    if hasattr(threading, "get_native_id"):
        return threading.get_native_id()
    import ctypes

    return ctypes.CDLL(None).syscall(186 if platform.machine() == "x86_64" else 178)


def hold():
    NATIVE[threading.current_thread().ident] = native_id()
    READY.release()
    HOLD.wait()


def threads():
    x = 1
    hold()
    return x


def recursion(n=10000):
    if n:
        return recursion(n - 1)
    return hold()


def generators():
    def inner(n):
        for i in range(n):
            if i == 2:
                hold()
            yield i

    def through():
        for i in inner(5):
            yield i

    for _ in through():
        pass


def comprehensions():
    return [dict((k, sum(hold() or 0 for _ in range(2))) for k in "ab") for _ in range(2)]


def executed():
    exec(compile("\n\ndef f():\n    hold()\n\n\nf()\n", "<made up>", "exec"), {"hold": hold})


def unicode_names():
    scope = {"hold": hold}
    if sys.version_info < (3,):  # its names are bytes
        exec(compile("def f():\n\n  hold()\nf()\n", u"dir/файл-\U0001f40d.py".encode("utf-8"), "exec"), scope)
    exec(compile(u"def функция():\n\n  hold()\nфункция()\n", u"dir/файл-\U0001f40d.py", "exec"), scope)


def latin_names():
    if sys.version_info < (3,):
        exec(compile("def f():\n  hold()\nf()\n", b"/opt/\xe9t\xe9.py", "exec"), {"hold": hold})
    exec(compile(u"def caf\xe9():\n  hold()\ncaf\xe9()\n", u"/opt/\xe9t\xe9.py", "exec"), {"hold": hold})


def long_name():
    name = "n" * 3000
    exec(compile("def %s():\n  hold()\n%s()\n" % (name, name), "/" + "d" * 3000 + ".py", "exec"), {"hold": hold})


def class_body():
    class Outer:
        class Inner:
            value = hold()

    return Outer


def methods():
    class A(object):
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
    class N(object):
        def __add__(self, other):
            return str(self)

        def __str__(self):
            hold()
            return ""

    return N() + 1


def handlers():
    @contextlib.contextmanager
    def manager():
        yield

    try:
        try:
            raise ValueError
        finally:
            with manager():
                hold()
    except ValueError:
        pass


def multi_line():
    return max(
        1,
        2,
        hold(
        ) or 3,
    )


def far_away():
    """Lines and instructions so far apart that a line table needs its longest forms."""
    text = "def f():\n" + "  x = 1\n" * 200 + "\n" * 70000 + "  hold()\n" + "\n" * 300 + "f()\n"
    exec(compile(text, "far.py", "exec"), {"hold": hold})


SHAPES = [threads, recursion, generators, comprehensions, executed, unicode_names, latin_names, long_name,
          class_body, methods, callbacks, dunder, handlers, multi_line, far_away]
if sys.version_info >= (3,):
    import still3

    SHAPES += still3.shapes(hold)
if sys.version_info >= (3, 5):
    import still35

    SHAPES += still35.shapes(hold)
if sys.version_info >= (3, 6):
    import still36

    SHAPES += still36.shapes(hold)


def text(name):
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


POSITIONS = {}


def columns(frame):
    """Column, end line, end column of the instruction it is at, from 1 and 0 for None, as podspy prints them."""
    if sys.version_info < (3, 11):
        return [0, 0, 0]
    at = id(frame.f_code), frame.f_lasti
    if at not in POSITIONS:
        line, end_line, column, end_column = list(frame.f_code.co_positions())[frame.f_lasti // 2]
        assert line == frame.f_lineno
        POSITIONS[at] = [0 if column is None else column + 1, end_line or 0, 0 if end_column is None else end_column + 1]
    return POSITIONS[at]


def stack(frame):
    out = []
    while frame:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        out.append([text(name), text(code.co_filename), frame.f_lineno or 0] + columns(frame))
        frame = frame.f_back
    return out


def report():
    """All shapes wait in Event.wait by now: what they look like does not change any more."""
    time.sleep(0.3)
    frames = sys._current_frames()
    said = {}
    for t in running:
        said[NATIVE[t.ident]] = {"shape": t.name, "ident": t.ident, "frames": stack(frames[t.ident])}
    print(json.dumps(said))
    sys.stdout.flush()
    HOLD.wait()


running = [threading.Thread(target=f, name=f.__name__) for f in SHAPES]
for t in running:
    t.daemon = True
    t.start()
for t in running:
    READY.acquire()
report()
