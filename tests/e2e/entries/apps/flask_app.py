"""Flask under gunicorn's threads: functions and a view class."""
import sys

from flask import Flask, views
from gunicorn.app.base import BaseApplication

from work import HEAVY, LIGHT, burn


def create_app():
    app = Flask(__name__)

    @app.route("/heavy")
    def heavy():
        burn(HEAVY)
        return "ok"

    class Light(views.MethodView):
        def get(self):
            light()
            return "ok"

    app.add_url_rule("/light", view_func=Light.as_view("light"))
    return app


def light():
    burn(LIGHT)


class Server(BaseApplication):
    def load_config(self):
        self.cfg.set("bind", "127.0.0.1:" + sys.argv[1])
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("threads", 2)
        self.cfg.set("loglevel", "warning")

    def load(self):
        return create_app()


Server().run()
