"""A Celery worker whose broker is in its own memory."""
import threading
import time

from celery import Celery

from work import HEAVY, LIGHT, burn

app = Celery("celery_app", broker="memory://")


@app.task
def heavy():
    burn(HEAVY)


@app.task(autoretry_for=(OSError,))
def light():
    burn(LIGHT)


def send():
    while True:
        heavy.delay()
        light.delay()
        time.sleep(0.1)


threading.Thread(target=send, daemon=True).start()
app.worker_main(["worker", "--pool", "solo", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"])
