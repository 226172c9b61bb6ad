"""The shapes of still.py that need the syntax of 3.5."""
import asyncio


def run(main):
    if hasattr(asyncio, "run"):
        return asyncio.run(main)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # gather() of 3.5.0 asks for the thread's own
    return loop.run_until_complete(main)


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
