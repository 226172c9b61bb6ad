"""A small shop, as a service to look at: WSGI, the standard library alone, work of several kinds.

Most of its time goes where a reader would not look first: search() compares words one by one
(edit_distance), which is what the flamegraph shows.
"""

import hashlib
import html
import json
import os
import string
import urllib.parse

KINDS = (
    "amber brass bronze cedar copper cotton hemp iron leather maple paper pine silver steel walnut "
    "woollen"
).split()
THINGS = (
    "anchor apron basket bottle bucket button candle chisel clamp cradle drawer engine feather "
    "funnel gasket hammer handle hinge kettle ladder lantern lever magnet mallet mirror needle "
    "nozzle paddle pencil pliers pulley ribbon screw shovel socket spring stapler thread trowel "
    "valve washer wedge whistle wrench zipper"
).split()
NAMES = [f"{kind} {thing}" for thing in THINGS for kind in KINDS]
CATALOGUE = [{"sku": f"{i:04d}", "name": w, "cents": 199 + 7 * i} for i, w in enumerate(NAMES)]
BY_SKU = {item["sku"]: item for item in CATALOGUE}

PAGE = string.Template("<!doctype html><title>$title</title><h1>$title</h1><ul>$rows</ul>")
ROW = string.Template("<li><b>$name</b> $price</li>")


def edit_distance(a, b):
    """How many letters to change to get from a to b. Deliberately the slow way."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


def search(words):
    scored = [(edit_distance(words, item["name"]), item["sku"]) for item in CATALOGUE]
    return [BY_SKU[sku] for _, sku in sorted(scored)[:20]]


def render_row(item):
    return ROW.substitute(name=html.escape(item["name"]), price=f"{item['cents'] / 100:.2f}")


def render_page(title, items):
    return PAGE.substitute(title=html.escape(title), rows="".join(render_row(i) for i in items))


def parse_order(body):
    order = json.loads(body)
    lines = []
    for line in order["lines"]:
        item = BY_SKU.get(str(line["sku"]))
        if item and 0 < int(line["count"]) <= 100:
            lines.append((item, int(line["count"])))
    return lines


def price_order(lines):
    total = 0
    for item, count in lines:
        for _ in range(count):
            total += item["cents"] - item["cents"] * 3 // 100
    return total


def sign_receipt(receipt):
    return hashlib.pbkdf2_hmac("sha256", receipt, b"demo", 30_000).hex()


def read_sales():
    """The sales of a day; a real shop would ask a database."""
    return [(CATALOGUE[i * 7919 % len(CATALOGUE)], 1 + i % 5) for i in range(6000)]


def summarise_sales(sales):
    totals = {}
    for item, count in sales:
        kind = item["name"].partition(" ")[0]
        totals[kind] = totals.get(kind, 0) + count * item["cents"]
    return dict(sorted(totals.items(), key=lambda pair: -pair[1]))


def handle_search(environ):
    query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
    words = query.get("q", [""])[0][:40]
    return "text/html; charset=utf-8", render_page(f"Results for {words}", search(words))


def handle_checkout(environ):
    length = min(int(environ.get("CONTENT_LENGTH") or 0), 1 << 16)
    lines = parse_order(environ["wsgi.input"].read(length))
    receipt = json.dumps({"cents": price_order(lines), "lines": len(lines)})
    signed = {"receipt": receipt, "signature": sign_receipt(receipt.encode()), "pid": os.getpid()}
    return "application/json", json.dumps(signed)


def handle_report(environ):
    return "application/json", json.dumps({"cents": summarise_sales(read_sales())})


def handle_catalogue(environ):
    return "application/json", json.dumps({"items": CATALOGUE}, indent=1)


ROUTES = {
    "/search": handle_search,
    "/checkout": handle_checkout,
    "/report": handle_report,
    "/catalogue": handle_catalogue,
}


def app(environ, start_response):
    handle = ROUTES.get(environ.get("PATH_INFO"))
    if handle is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"nothing here\n"]
    content_type, text = handle(environ)
    body = text.encode()
    start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]
