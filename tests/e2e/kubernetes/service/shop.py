"""A service with work in each of its processes: gunicorn's workers, and a pool of two in each of them.

They work a small part of the time, so that a machine that runs a whole cluster can bear it.
"""

import multiprocessing
import os
import threading
import time


def spend(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(i * i for i in range(500))


def pack_parcel(_):
    """In the pool."""
    spend(0.006)
    time.sleep(0.08)
    return os.getpid()


def price_order():
    """In the worker itself."""
    spend(0.006)


def keep_shop(pool):
    while True:
        price_order()
        pool.map(pack_parcel, range(2), chunksize=1)


def open_shop():
    """Called by each worker once it was forked (settings.py)."""
    pool = multiprocessing.get_context("fork").Pool(2)
    threading.Thread(target=keep_shop, args=(pool,), daemon=True).start()


def app(environ, start_response):
    price_order()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"open\n"]
