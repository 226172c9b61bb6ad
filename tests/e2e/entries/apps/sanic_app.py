"""Sanic: a coroutine, and a view class."""
import sys

from sanic import Sanic
from sanic.response import text
from sanic.views import HTTPMethodView

from work import HEAVY, LIGHT, burn

app = Sanic("entries")


@app.get("/heavy")
async def heavy(request):
    burn(HEAVY)
    return text("ok")


class Light(HTTPMethodView):
    async def get(self, request):
        burn(LIGHT)
        return text("ok")


app.add_route(Light.as_view(), "/light")
if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), single_process=True, motd=False, access_log=False)
