"""sorted() calls key(), which calls json and re: native code above, between and below Python frames."""
import json
import re
import sys

NEVER = re.compile(r"(a|b)*c(d+)e")


def leaf(text):
    return NEVER.search(text)


def key(pair):
    json.dumps({"list": [1, 2, 3] * 10, "text": pair[0]})
    leaf("abababab" * 10 + "x")
    return pair[1]


def items():
    for i in range(50):
        leaf("abababab" * 10 + "x")
        yield i


def work(data):
    sorted(data, key=key)
    sum(items())


sys.stdout.write("ready\n")
sys.stdout.flush()
while True:
    work([(i, -i) for i in range(50)])
