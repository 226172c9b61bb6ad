"""Starlette under uvicorn: a coroutine, and an endpoint class."""
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from work import HEAVY, LIGHT, burn


async def heavy(request):
    burn(HEAVY)
    return PlainTextResponse("ok")


class Light(HTTPEndpoint):
    async def get(self, request):
        burn(LIGHT)
        return PlainTextResponse("ok")


app = Starlette(routes=[Route("/heavy", heavy), Route("/light", Light)])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
