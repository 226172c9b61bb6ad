"""Tornado: a coroutine, and a method."""
import sys

import tornado.ioloop
import tornado.web

from work import HEAVY, LIGHT, burn


class Heavy(tornado.web.RequestHandler):
    async def get(self):
        burn(HEAVY)
        self.write("ok")


class Light(tornado.web.RequestHandler):
    def get(self):
        burn(LIGHT)
        self.write("ok")


tornado.web.Application([("/heavy", Heavy), ("/light", Light)]).listen(int(sys.argv[1]), "127.0.0.1")
tornado.ioloop.IOLoop.current().start()
