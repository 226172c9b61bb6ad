"""aiohttp with a middleware of its own making: a coroutine, and a view class."""
import sys

from aiohttp import web

from work import HEAVY, LIGHT, burn


async def heavy(request):
    burn(HEAVY)
    return web.Response(text="ok")


class Light(web.View):
    async def get(self):
        burn(LIGHT)
        return web.Response(text="ok")


app = web.Application(middlewares=[web.normalize_path_middleware()])
app.router.add_get("/heavy", heavy)
app.router.add_view("/light", Light)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
