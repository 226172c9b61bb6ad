"""FastAPI under uvicorn: a coroutine, and a function that it runs in a thread. The second argument is the loop."""
import sys

import uvicorn
from fastapi import FastAPI

from work import HEAVY, LIGHT, burn

app = FastAPI()


@app.get("/heavy")
async def heavy():
    burn(HEAVY)
    return {"ok": True}


@app.get("/light")
def light():
    burn(LIGHT)
    return {"ok": True}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop=sys.argv[2], log_level="warning")
