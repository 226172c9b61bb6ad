"""A gRPC server, and its client in a process of its own: a call with one answer, and one with a stream of them."""
import os
import subprocess
import sys
from concurrent import futures

import grpc

from work import HEAVY, LIGHT, burn


def heavy(request, context):
    burn(HEAVY)
    return b"ok"


def light(request, context):
    for _ in range(2):
        burn(LIGHT / 2)
        yield b"ok"


def ask(port):
    channel = grpc.insecure_channel("127.0.0.1:%s" % port)
    while os.getppid() != 1:
        channel.unary_unary("/shop/heavy")(b"", wait_for_ready=True)
        list(channel.unary_stream("/shop/light")(b"", wait_for_ready=True))


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(2))
    handlers = {"heavy": grpc.unary_unary_rpc_method_handler(heavy),
                "light": grpc.unary_stream_rpc_method_handler(light)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = subprocess.Popen([sys.executable, __file__, "ask", str(port)])
    try:
        server.wait_for_termination()
    finally:
        client.kill()


ask(sys.argv[2]) if sys.argv[1] == "ask" else serve()
