"""A Dramatiq worker on the broker that it has for tests."""
import time

import dramatiq
from dramatiq.brokers.stub import StubBroker

from work import HEAVY, LIGHT, burn

broker = StubBroker()
dramatiq.set_broker(broker)


@dramatiq.actor
def heavy():
    burn(HEAVY)


@dramatiq.actor
def light():
    burn(LIGHT)


dramatiq.Worker(broker, worker_threads=1).start()
while True:
    heavy.send()
    light.send()
    time.sleep(0.1)
