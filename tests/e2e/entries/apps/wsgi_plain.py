"""A WSGI application without a framework, in the standard library's server."""
import sys
from wsgiref.simple_server import make_server

from work import HEAVY, LIGHT, burn


def heavy(environ, start_response):
    burn(HEAVY)
    start_response("200 OK", [])
    return [b"ok"]


def light(environ, start_response):
    burn(LIGHT)
    start_response("200 OK", [])
    return [b"ok"]


class Router:
    """As servers have one application only: it is not a frame of its own, as C calls it."""

    def __call__(self, environ, start_response):
        return {"/heavy": heavy, "/light": light}[environ["PATH_INFO"]](environ, start_response)


def application(environ, start_response):
    return Router()(environ, start_response)


make_server("127.0.0.1", int(sys.argv[1]), application).serve_forever()
