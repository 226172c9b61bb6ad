"""A few customers for the demo shop: requests at a bounded rate, until told to stop.

load.py URL... [--rate N] [--seconds S]     N requests a second in all (at most 200)
"""

import argparse
import itertools
import json
import random
import signal
import sys
import time
import urllib.error
import urllib.request

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=0, help="0: until it is told to stop")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    pause = 1 / min(max(args.rate, 0.1), 200)
    end = time.monotonic() + args.seconds if args.seconds else float("inf")
    rng = random.Random(3)
    answered = sent = 0
    for kind, url in zip(itertools.cycle(KINDS), itertools.cycle(args.urls)):
        began = time.monotonic()
        if began >= end:
            break
        sent += 1
        answered += send(url.rstrip("/"), *kind(rng))
        time.sleep(max(0.0, pause - (time.monotonic() - began)))
    print(f"{answered} of {sent} requests were answered", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
