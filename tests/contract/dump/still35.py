"""The shapes of still.py that need the syntax of 3.5."""
import asyncio


def run(main):
    if hasattr(asyncio, "run"):
        return asyncio.run(main)
    return asyncio.new_event_loop().run_until_complete(main)


def shapes(hold):
    def coroutines():
        async def last():
            hold()

        async def middle():
            await last()

        async def first():
            await asyncio.gather(middle())

        run(first())

    return [coroutines]
