"""A target whose stacks lie in thousands of pieces: recursion through C, generators and coroutines one inside
of the other. Arguments: how deep; `still`, or the one shape that is to run. Still, each shape is a thread
that waits, and a line of JSON tells of each what sys._current_frames() says. Runs on 2.7 and later."""
import functools
import hashlib
import json
import platform
import re
import sys
import threading
import time

DEPTH = int(sys.argv[1])
threading.stack_size(512 << 20)
sys.setrecursionlimit(200000)
HOLD = threading.Event()
NATIVE = {}  # ident -> the system's id of the thread
DONE = threading.Semaphore(0)


def native_id():
    if hasattr(threading, "get_native_id"):
        return threading.get_native_id()
    import ctypes

    return ctypes.CDLL(None).syscall(186 if platform.machine() == "x86_64" else 178)


def still():
    NATIVE[threading.current_thread().ident] = native_id()
    DONE.release()
    HOLD.wait()


def busy():
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    x = 0
    while True:
        x += 1


hold = still if sys.argv[2] == "still" else busy


def through_map(n):
    return list(map(through_map, [n - 1])) if n else hold()


def through_sorted(n):
    return sorted([n], key=lambda x: through_sorted(n - 1)) if n else hold()


def through_partial(n):
    return functools.partial(through_partial, n - 1)() if n else hold()


def through_sub(n):
    return re.sub("a", lambda m: through_sub(n - 1), "a") if n else hold()


class Init(object):
    def __init__(self, n):
        self.inner = Init(n - 1) if n else hold()


class Attribute(object):
    def __getattr__(self, name):
        n = int(name[1:])
        return getattr(self, "x%d" % (n - 1)) if n else hold()


def through_getattr(n):
    return getattr(Attribute(), "x%d" % n)


def nested(n):
    for x in nested(n - 1) if n else [1]:
        if not n:
            hold()
        yield x


def generators(n):
    return list(nested(n))


SHAPES = [through_map, through_sorted, through_partial, through_sub, Init, through_getattr, generators]
NEWER = {
    (3, 2): """
@functools.lru_cache(maxsize=None)
def through_cache(n):
    return through_cache(n - 1) if n else hold()
""",
    (3, 3): """
def inner(n):
    if n:
        yield from inner(n - 1)
    else:
        yield hold()
def delegation(n):
    return list(inner(n))
""",
    (3, 5): """
async def wait(n):
    return await wait(n - 1) if n else hold()
def coroutines(n):
    wait(n).send(None)
""",
    (3, 6): """
async def each(n):
    if not n:
        yield hold()
    else:
        async for x in each(n - 1):
            yield x
async def take(n):
    async for x in each(n):
        pass
def async_for(n):
    take(n).send(None)
""",
}
for version, source in sorted(NEWER.items()):
    if sys.version_info >= version:
        exec(compile(source, "newer.py", "exec"))
        SHAPES.append([f for name, f in sorted(globals().items()) if name in
                       ("through_cache", "delegation", "coroutines", "async_for") and f not in SHAPES][0])


def told(frame):
    """[how many frames, what they are]"""
    text = []
    while frame:
        code = frame.f_code
        text.append("%s:%d" % (getattr(code, "co_qualname", code.co_name), frame.f_lineno or 0))
        frame = frame.f_back
    return [len(text), hashlib.sha1("\n".join(text).encode()).hexdigest()]


REFUSED = []


def run(shape):
    try:
        shape(DEPTH)
    except RuntimeError:  # RecursionError: this interpreter does not go so deep
        REFUSED.append(shape.__name__)
        DONE.release()


def main():
    if hold is busy:
        shapes = dict((f.__name__, f) for f in SHAPES)
        if sys.argv[2] in shapes:
            run(shapes[sys.argv[2]])
        sys.stdout.write("refused\n")
        return
    threads = [threading.Thread(target=run, args=(f,), name=f.__name__) for f in SHAPES]
    for t in threads:
        t.daemon = True
        t.start()
        DONE.acquire()
    time.sleep(0.3)
    frames = sys._current_frames()
    said = {NATIVE[t.ident]: [t.name] + told(frames[t.ident]) for t in threads if t.name not in REFUSED}
    print(json.dumps({"threads": said, "refused": REFUSED}))
    sys.stdout.flush()
    HOLD.wait()


if hold is busy:  # the stack of the main thread is too small
    t = threading.Thread(target=main)
    t.daemon = True
    t.start()
    t.join(3000)
else:
    main()
