"""The shapes of still.py that Python 3 can have, in a syntax that all versions from 3.3 on know."""
import contextlib
import sys


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

    return [delegation, surrogates] + ([suppressed] if sys.version_info >= (3, 4) else [])
