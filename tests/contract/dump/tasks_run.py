"""Tasks that run: each goes through chains that the names tell, over and over. Says "ready" once they do."""

import asyncio
import sys


async def pause():
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)


async def a_b():
    await pause()


async def a_c():
    await pause()


async def a():
    await a_b()
    await a_c()


async def b_d():
    await asyncio.wait_for(asyncio.get_running_loop().create_future(), 0.002)


async def b():
    try:
        await b_d()
    except asyncio.TimeoutError:
        pass


async def work():
    while True:
        await a()
        await asyncio.gather(a(), b())
        await b()


async def main(count):
    tasks = [asyncio.ensure_future(work()) for _ in range(count)]
    await asyncio.sleep(0.2)
    print('"ready"')
    sys.stdout.flush()
    await asyncio.gather(*tasks)


asyncio.new_event_loop().run_until_complete(main(int(sys.argv[1])))
