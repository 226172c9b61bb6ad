"""The shapes of still.py that need the syntax of 3.6."""
from still35 import run


def shapes(hold):
    def async_generators():
        async def numbers():
            for i in range(3):
                yield i

        async def use():
            async for i in numbers():
                if i == 1:
                    hold()

        run(use())

    return [async_generators]
