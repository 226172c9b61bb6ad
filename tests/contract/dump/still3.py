"""The shapes of still.py that only Python 3 can have."""
import asyncio
import contextlib
import sys


def run(main):
    if hasattr(asyncio, "run"):
        return asyncio.run(main)
    return asyncio.new_event_loop().run_until_complete(main)


def shapes(hold):
    def delegation():
        def inner(n):
            for i in range(n):
                if i == 2:
                    hold()
                yield i

        def through():
            yield from inner(5)

        for _ in through():
            pass

    def coroutines():
        async def last():
            hold()

        async def middle():
            await last()

        async def first():
            await asyncio.gather(middle())

        run(first())

    def async_generators():
        async def numbers():
            for i in range(3):
                yield i

        async def use():
            async for i in numbers():
                if i == 1:
                    hold()

        run(use())

    def surrogates():
        scope = {"hold": hold}
        exec(compile("def f():\n  hold()\n", "bad-\udcff.py", "exec"), scope)
        f = scope["f"]
        if sys.version_info >= (3, 11):
            f.__code__ = f.__code__.replace(co_name="x\ud800y", co_qualname="q.x\ud800y\N{SNAKE}")
        elif sys.version_info >= (3, 8):
            f.__code__ = f.__code__.replace(co_name="x\ud800y")
        f()

    def suppressed():
        with contextlib.suppress(KeyError):
            [{k: sum(hold() or 0 for _ in range(2)) for k in "ab"} for _ in range(2)]

    return [delegation, coroutines, async_generators, surrogates, suppressed]
