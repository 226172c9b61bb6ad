"""Asyncio tasks that stand still, and what the program says of them: one line of JSON.

    tasks.py SHAPE COUNT [python] [uvloop]

{"tasks": [{"name", "chain": [[function, file, line], the innermost first], "awaited_by": [names], "graph": [names] or
null, "kind": what it was made to wait for, or null, "cancelling", "own_stack": Task.get_stack()}], "not_listed": [names]}. The chain is walked
by cr_await and its kin; awaited_by is known from how the tasks were made; graph is what asyncio.capture_call_graph says,
from 3.14 on.
"""

import asyncio
import gc
import json
import socket
import sys
import threading
import types

NEVER = 100000
EXPECTED, KINDS, KEPT, ENDED = {}, {}, [], []
QUALIFIED = sys.version_info >= (3, 11)
try:
    import uvloop
except ImportError:
    uvloop = None


def frame_of(awaitable):
    """(frame, what it awaits) of a coroutine or generator; None of others."""
    if isinstance(awaitable, types.CoroutineType):
        return awaitable.cr_frame, awaitable.cr_await
    if isinstance(awaitable, types.GeneratorType):
        return awaitable.gi_frame, awaitable.gi_yieldfrom
    if isinstance(awaitable, types.AsyncGeneratorType):
        return awaitable.ag_frame, awaitable.ag_await
    return None


def within(awaitable):
    """The generator in what asend() returns, or anext(), which wraps that; None in an iterator of a future."""
    for o in gc.get_referents(awaitable):
        if isinstance(o, types.AsyncGeneratorType) or type(o).__name__ == "async_generator_asend":
            return o
    return None


def chain_of(awaitable):
    chain = []
    while awaitable is not None:
        pair = frame_of(awaitable)
        if pair is None:
            awaitable = within(awaitable)
            continue
        frame, awaitable = pair
        if frame is not None:
            code = frame.f_code
            chain.append([code.co_qualname if QUALIFIED else code.co_name, code.co_filename, frame.f_lineno])
    return chain[::-1]


def awaiting_tasks(graph, seen):
    """The tasks among a graph's awaiters, through futures between them."""
    names = set()
    for by in graph.awaited_by:
        if isinstance(by.future, asyncio.Task):
            names.add(by.future.get_name())
        elif id(by.future) not in seen:
            seen.add(id(by.future))
            names |= awaiting_tasks(by, seen)
    return names


def graph_of(task):
    if not hasattr(asyncio, "capture_call_graph"):
        return None
    return sorted(awaiting_tasks(asyncio.capture_call_graph(task), set()))


def say_of(task, all_names):
    return {
        "name": task.get_name(),
        "chain": chain_of(task.get_coro()),
        "awaited_by": sorted(EXPECTED.get(task.get_name(), set())),
        "graph": graph_of(task) if len(all_names) < 500 else None,
        "kind": KINDS.get(task.get_name()),
        "cancelling": bool(task.cancelling()) if hasattr(task, "cancelling") else False,
        "own_stack": [[f.f_code.co_name, f.f_lineno] for f in task.get_stack()],
    }


def say(loops):
    tasks = [t for loop in loops for t in asyncio.all_tasks(loop)]
    names = {t.get_name() for t in tasks}
    said = {"tasks": [say_of(t, names) for t in tasks], "not_listed": ENDED}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def start(name, coroutine, kind=None, by=()):
    task = asyncio.get_running_loop().create_task(coroutine)
    task.set_name(name)
    KINDS[name] = kind
    EXPECTED.setdefault(name, set()).update(by)
    KEPT.append(task)
    return task


async def sleep():
    await asyncio.sleep(NEVER)


async def nested(depth):
    if depth:
        await nested(depth - 1)
    else:
        await asyncio.sleep(NEVER)


@types.coroutine
def old_style(future):
    yield from future


async def on_old_style(future):
    await old_style(future)


async def numbers(future):
    yield 1
    await future
    yield 2


async def on_generator(future):
    async for _ in numbers(future):
        pass


async def on_anext(future):
    iterator = numbers(future)
    await iterator.__anext__()
    if sys.version_info >= (3, 10):
        await anext(iterator, None)
    else:
        await iterator.__anext__()


class Awaitable:
    def __init__(self, future):
        self.future = future

    def __await__(self):
        return (yield from self.future)


async def on(awaitable):
    return await awaitable


async def hold(lock):
    async with lock:
        await asyncio.sleep(NEVER)


async def enter(lock):
    async with lock:
        pass


async def stubborn():
    try:
        await asyncio.sleep(NEVER)
    except asyncio.CancelledError:
        await asyncio.sleep(NEVER)


async def on_gather(names, *awaitables):
    await asyncio.gather(*awaitables)


async def on_wait_for(task):
    await asyncio.wait_for(task, NEVER)


async def on_as_completed(tasks):
    for next_one in asyncio.as_completed(tasks):
        await next_one


async def on_group(name):
    async with asyncio.TaskGroup() as group:
        for i in range(3):
            child = group.create_task(sleep())
            child.set_name("%s %d" % (name, i))
            EXPECTED["%s %d" % (name, i)] = {name}
            KINDS["%s %d" % (name, i)] = "sleep"
            KEPT.append(child)


async def on_socket(reads):
    await asyncio.get_running_loop().sock_recv(reads, 1)


async def on_stream(reads):
    reader, _ = await asyncio.open_connection(sock=reads)
    await reader.readline()


async def fail():
    raise ValueError("as it should")


async def end():
    pass


class Derived(asyncio.Task):
    pass


async def make_waits():
    loop = asyncio.get_running_loop()
    future, lock, queue = loop.create_future(), asyncio.Lock(), asyncio.Queue()
    start("sleeps", sleep(), "sleep")
    start("nested", nested(5), "sleep")
    start("future", on(future), "future")
    start("old style", on_old_style(future), "future")
    start("generator", on_generator(future), "future")
    start("anext", on_anext(future), "future")
    start("awaitable", on(Awaitable(future)), "future")
    start("holds", hold(lock), "sleep")
    await asyncio.sleep(0)
    start("lock", enter(lock), "lock")
    semaphore = asyncio.Semaphore(0)
    start("semaphore", enter(semaphore), "lock")
    start("event", on(asyncio.Event().wait()), "lock")
    start("queue", on(queue.get()), "queue")
    start("executor", on(loop.run_in_executor(None, threading.Event().wait)), "executor")
    pairs = [socket.socketpair() for _ in range(2)]
    KEPT.extend(pairs)
    for pair in pairs:
        pair[0].setblocking(False)
    start("stream", on_stream(pairs[1][0]), "socket")
    if type(loop).__module__.startswith("asyncio"):
        start("socket", on_socket(pairs[0][0]), "socket")
    derived = Derived(sleep(), loop=loop)
    derived.set_name("derived é\u4e2d\U0001f40d \x1b[31m")
    KINDS[derived.get_name()] = "sleep"
    KEPT.append(derived)


async def make_awaiters():
    shared = start("shared", sleep(), "sleep", ["first", "second", "waits", "timeout", "shields", "gathers"])
    start("first", on(shared), "task")
    start("second", on(shared), "task")
    start("waits", on(asyncio.wait([shared])), "wait")
    start("timeout", on_wait_for(shared), "task" if sys.version_info >= (3, 12) else "wait")
    start("shields", on(asyncio.shield(shared)), "shield")
    children = [start("child %d" % i, sleep(), "sleep", ["gathers"]) for i in range(5)]
    start("gathers", on_gather(None, shared, *children), "gather")
    grandchildren = [start("grandchild %d" % i, sleep(), "sleep", ["nested gather"]) for i in range(2)]
    start("nested gather", on_gather(None, asyncio.gather(*grandchildren)), "gather")
    completing = [start("completing %d" % i, sleep(), "sleep", ["completes"]) for i in range(2)]
    start("completes", on_as_completed(completing), None)
    if hasattr(asyncio, "TaskGroup"):
        start("group", on_group("group"), "task group")


async def make_ended():
    cancelled, failed, ended = (start(n, c) for n, c in (("cancelled", sleep()), ("failed", fail()), ("ended", end())))
    being = start("being cancelled", stubborn(), "sleep")
    await asyncio.sleep(0.01)
    cancelled.cancel()
    being.cancel()
    await asyncio.sleep(0.01)
    assert cancelled.done() and failed.done() and ended.done() and not being.done()
    failed.exception()
    ENDED.extend(["cancelled", "failed", "ended"])


async def make_mixed(count):
    await make_waits()
    await make_awaiters()
    await make_ended()


async def make_many(count):
    """Tasks that wait in different places, gathered by one."""
    tasks = [start("many %d" % i, nested(i % 4), "sleep", ["collects"]) for i in range(count)]
    start("collects", on_gather(None, *tasks), "gather")


async def make_deep(count):
    """A coroutine that awaits count others, and count tasks; each task awaits the next."""
    start("deep", nested(count), "sleep")
    last = start("link 0", sleep(), "sleep")
    for i in range(1, count):
        EXPECTED["link %d" % (i - 1)].add("link %d" % i)
        last = start("link %d" % i, on(last), "task")


SHAPES = {"mixed": make_mixed, "many": make_many, "deep": make_deep}


async def main(make, count, loops, barrier):
    loop = asyncio.get_running_loop()
    loops.append(loop)
    await make(count)
    if barrier is None:
        loop.call_later(0.3, say, loops)
    else:
        barrier.set()
    await loop.create_future()


def run_loop(make, count, loops, ready):
    loop = asyncio.new_event_loop()
    task = loop.create_task(main(make, count, loops, ready))
    task.set_name("main %d" % len(loops))
    KINDS[task.get_name()] = "future"
    loop.run_until_complete(task)


def start_other_loop(loops):
    """A second loop, in another thread."""
    ready = threading.Event()

    async def make(count):
        start("in the other loop", sleep(), "sleep")

    threading.Thread(target=run_loop, args=(make, 0, loops, ready), daemon=True).start()
    assert ready.wait(60)


def use_python_tasks():
    """Tasks and futures that are written in Python."""
    asyncio.Task = asyncio.tasks.Task = asyncio.tasks._PyTask
    asyncio.Future = asyncio.futures.Future = asyncio.futures._PyFuture
    if sys.version_info >= (3, 14):  # those of C do not know them
        asyncio.all_tasks = asyncio.tasks.all_tasks = asyncio.tasks._py_all_tasks
        asyncio.current_task = asyncio.tasks.current_task = asyncio.tasks._py_current_task
    globals()["Derived"] = type("Derived", (asyncio.tasks._PyTask,), {})


if __name__ == "__main__":
    shape, count = sys.argv[1], int(sys.argv[2])
    if "python" in sys.argv:
        use_python_tasks()
    if "uvloop" in sys.argv:
        uvloop.install()
    loops = []
    if shape == "mixed":
        start_other_loop(loops)
    run_loop(SHAPES[shape], count, loops, None)
