# -*- coding: utf-8 -*-
"""A target for any version of Python since 2.7 whose threads hold still; prints what
sys._current_frames() says of them, by ident, as JSON."""
import json
import sys
import threading
import time

HOLD = threading.Event()


def hold():
    HOLD.wait()


def plain():
    hold()


def deep(n=500):
    return deep(n - 1) if n else hold()


def generator():
    def inner():
        for i in range(3):
            if i == 2:
                hold()
            yield i

    return [x for x in inner()]


def executed():
    exec(compile("\n\ndef f():\n    hold()\n\n\nf()\n", "<made up>", "exec"), {"hold": hold})


def stack(frame):
    out = []
    while frame:
        code = frame.f_code
        out.append([getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno or 0])
        frame = frame.f_back
    return out


def report():
    time.sleep(0.5)
    said = {}
    for ident, frame in sys._current_frames().items():
        if ident != main:
            said[ident] = stack(frame)
    print(json.dumps(said))
    sys.stdout.flush()
    hold()


main = threading.current_thread().ident
for f in (plain, deep, generator, executed):
    t = threading.Thread(target=f)
    t.daemon = True
    t.start()
report()
