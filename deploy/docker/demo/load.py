"""A few customers for the demo shop: requests at a bounded rate, until stopped.

load.py URL... [--rate N] [--seconds S]     about N requests a second in all (at most 200)
"""

import argparse
import itertools
import json
import random
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

CUSTOMERS = 4
QUERIES = ("hamer", "wrensh", "coton riben", "steal ladder", "stapeler", "fethers")


def checkout(rng):
    lines = [{"sku": f"{rng.randrange(720):04d}", "count": rng.randrange(1, 90)} for _ in range(40)]
    return "/checkout", json.dumps({"lines": lines}).encode()


def search(rng):
    return "/search?q=" + urllib.request.quote(rng.choice(QUERIES)), None


def catalogue(rng):
    return "/catalogue", None


def report(rng):
    return "/report", None


KINDS = (search, checkout, report, search, catalogue)


def send(url, path, body):
    """True when it was answered."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data=body), timeout=5) as r:
            r.read()
        return True
    except (OSError, urllib.error.URLError):
        return False


class Customer(threading.Thread):
    """Asks one thing after another, at random moments, so that some come while others are served."""

    def __init__(self, number, urls, pause, end):
        super().__init__(daemon=True)
        self.rng, self.urls, self.pause, self.end = random.Random(number), urls, pause, end
        self.sent = self.answered = 0

    def run(self):
        for kind, url in zip(itertools.cycle(KINDS), itertools.cycle(self.urls)):
            time.sleep(min(self.rng.expovariate(1 / self.pause), 5 * self.pause))
            if time.monotonic() >= self.end:
                return
            self.sent += 1
            self.answered += send(url, *kind(self.rng))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=0, help="0: until stopped")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    end = time.monotonic() + args.seconds if args.seconds else float("inf")
    pause = CUSTOMERS / min(max(args.rate, 0.1), 200)
    urls = [url.rstrip("/") for url in args.urls]
    customers = [Customer(n, urls, pause, end) for n in range(CUSTOMERS)]
    for customer in customers:
        customer.start()
    for customer in customers:
        customer.join()
    answered, sent = sum(c.answered for c in customers), sum(c.sent for c in customers)
    print(f"{answered} of {sent} requests were answered", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
