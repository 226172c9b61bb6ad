"""An ASGI application without a framework, under uvicorn."""
import sys

import uvicorn

from work import HEAVY, burn


async def application(scope, receive, send):
    burn(HEAVY)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="off")
