# -*- coding: utf-8 -*-
"""A target whose threads have names of many kinds; prints {ident: name} as JSON, and once more after each line that
it is sent: the threads have other names then. The name of one that threading does not know is null."""
import json
import sys
import threading
try:
    import thread as low
except ImportError:
    import _thread as low

for_ever = threading.Event()
unknown = []


class Own(threading.Thread):
    """Its objects have attributes of their own, before and after those of a thread."""

    def __init__(self, name):
        self.first, self.second = 1, 2
        threading.Thread.__init__(self, name=name)
        self.daemon = True
        for i in range(40):
            setattr(self, "own_%d" % i, i)
        del self.first

    def run(self):
        for_ever.wait()


def plain(name):
    thread = threading.Thread(target=for_ever.wait, name=name)
    thread.daemon = True
    return thread


def below_threading():
    unknown.append(low.get_ident())
    for_ever.wait()


threads = [plain("plain"), plain(None), Own("of a class of its own"), plain("long " + 60 * "lorem "),
           plain("Grüße aus 東京 😀"), plain("x"), plain("its dict is asked for")]
threads[-1].__dict__["another"] = 1
for t in threads:
    t.start()
if sys.version_info >= (3,):
    from concurrent.futures import ThreadPoolExecutor
    pool = ThreadPoolExecutor(2, thread_name_prefix="pool") if sys.version_info >= (3, 6) else ThreadPoolExecutor(2)
    for _ in range(2):
        pool.submit(for_ever.wait)
low.start_new_thread(below_threading, ())
while not unknown:
    pass
for round in range(100):
    names = dict((str(t.ident), t.name) for t in threading.enumerate() if t is not threading.current_thread())
    names.update((str(ident), None) for ident in unknown)
    sys.stdout.write(json.dumps(names) + "\n")
    sys.stdout.flush()
    if not sys.stdin.readline():
        break
    for i, t in enumerate(threads):
        t.name = "renamed %d in round %d" % (i, round)
