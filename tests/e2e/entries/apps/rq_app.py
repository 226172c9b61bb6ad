"""An RQ worker on a Redis of fakeredis, in its own memory."""
import fakeredis
from rq import Queue, SimpleWorker

import rq_jobs

redis = fakeredis.FakeStrictRedis()
queue = Queue(connection=redis)
while True:
    for _ in range(10):
        queue.enqueue(rq_jobs.heavy)
        queue.enqueue(rq_jobs.light)
    SimpleWorker([queue], connection=redis).work(burst=True, logging_level="WARNING")
