"""GET /entries, group=entry and view=gil-blame on stored data."""

import subprocess

from collector import Batch, labels

SITE = "/usr/lib/python3/dist-packages/"
SERVER = ("ThreadWorker.handle_request", SITE + "gunicorn/workers/gthread.py", 1)
FLASK = ("Flask.dispatch_request", SITE + "flask/app.py", 2)
PAY = ("pay", "/srv/shop/views.py", 3)
CART = ("cart", "/srv/shop/views.py", 4)
WRAPPER = ("login.<locals>.wrapper", "/srv/shop/auth.py", 5)
OTHER = ("main", "/srv/shop/main.py", 6)
SQL = ("execute", "/srv/shop/db.py", 7)


def batch(pay=60, cart=30, other=10):
    b = Batch()
    b.add(labels(), [([SERVER, FLASK, PAY, SQL], pay, "running", 1, "a"),
                     ([SERVER, FLASK, WRAPPER, CART, SQL], cart, "running", 1, "a"),
                     ([OTHER, SQL], other, "running", 2, "b"),
                     ([SERVER, FLASK, CART], 50, "waiting", 2, "b")])
    return b


def filled(new_collector, **more):
    c = new_collector(**more)
    assert c.push(batch().bytes()).status_code == 200
    return c


def shares(answer):
    assert answer.status_code == 200, answer.text
    return {e["name"]: round(e["share"], 6) for e in answer.json()["entries"]}


def test_shares_are_of_what_is_shown(new_collector):
    c = filled(new_collector)
    got = c.get_plain("/entries?pod=demo")
    assert shares(got) == {"pay": 0.6, "login.<locals>.wrapper": 0.3}
    assert got.json()["no_entry"]["samples"] == 10 and got.json()["samples"] == 100
    pay = got.json()["entries"][0]
    assert pay == {"name": "pay", "module": "srv.shop.views", "file": "/srv/shop/views.py", "line": 0, "kind": "endpoint",
                   "framework": "flask", "samples": 60, "seconds": 0.6, "share": 0.6}
    assert shares(c.get_plain("/entries?pod=demo&idle=1"))["cart"] == round(50 / 150, 6)
    assert shares(c.get_plain("/entries?pod=demo&include=views")) == {"pay": round(60 / 90, 6),
                                                                     "login.<locals>.wrapper": round(30 / 90, 6)}
    one = c.get_plain("/entries?pod=demo&idle=1&max_nodes=10").json()
    assert one["entries_in_all"] == 3


def test_own_dispatchers_lead_through_wrappers(new_collector):
    c = filled(new_collector, config="entries: [{module: '[.]auth$', function: 'wrapper$'}]\n")
    got = c.get_plain("/entries?pod=demo")
    assert shares(got) == {"pay": 0.6, "cart": 0.3}
    assert [e["kind"] for e in got.json()["entries"]] == ["endpoint", "own"]


def test_a_wrong_rule_is_refused_with_its_line(podspy_collector, tmp_path):
    for rule, fault in (("module: '(', function: x", "c.yaml:3: module of entries"),
                        ("module: x, function: '*'", "c.yaml:3: function of entries"),
                        ("module: x", "c.yaml:3: a rule of entries needs module and function"),
                        ("file: x", "c.yaml:3: unknown key 'file'")):
        (tmp_path / "c.yaml").write_text(f"entries:\n  - {{module: x, function: y}}\n  - {{{rule}}}\n")
        done = subprocess.run([podspy_collector, "--config", tmp_path / "c.yaml", "--data", tmp_path / "data"],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and fault in done.stderr, done.stderr


def test_stacks_begin_with_their_entry(new_collector):
    c = filled(new_collector)
    lines = c.get_plain("/profiles?pod=demo&group=entry&format=collapsed&lines=0").text.splitlines()
    assert sorted(lines) == [
        "[no entry];main (shop/main.py);execute (shop/db.py) 10",
        "login.<locals>.wrapper (shop/auth.py);login.<locals>.wrapper (shop/auth.py);cart (shop/views.py);"
        "execute (shop/db.py) 30",
        "pay (shop/views.py);pay (shop/views.py);execute (shop/db.py) 60"]
    kept = c.get_plain("/profiles?pod=demo&group=entry&format=collapsed&include=Flask").text.splitlines()
    assert len(kept) == 2  # what is left out was chosen by the whole stack
    top = c.get_plain("/top?pod=demo&group=entry").json()
    assert [(f["name"], f["self"]) for f in top["functions"]] == [
        ("pay", 60), ("login.<locals>.wrapper", 30), ("[no entry]", 10)]


def test_entries_are_compared(new_collector):
    c = filled(new_collector)
    b = Batch()
    b.add(labels(pod="next"), [([SERVER, FLASK, PAY, SQL], 9000, "running", 1, "a"),
                               ([OTHER, SQL], 1000, "running", 2, "b")])
    assert c.push(b.bytes()).status_code == 200
    got = c.get_plain("/profiles/diff?pod=next&base.pod=demo&group=entry&format=json").json()
    rows = {f["name"]: f for f in got["functions"]}
    assert rows["pay"]["self"] == [60, 9000] and round(rows["pay"]["self_change"], 6) == 0.3
    assert rows["pay"]["significant"] and "execute" not in rows
    svg = c.get_plain("/profiles/diff?pod=next&base.pod=demo&group=entry&format=svg").text
    assert "execute" in svg and "gunicorn" not in svg


def test_a_wrong_group_or_view_says_what_there_is(new_collector):
    c = filled(new_collector)
    for query, hint in (("/profiles?group=x", "entry"), ("/profiles?view=x", "gil-blame"),
                        ("/profiles?view=gil-blame&type=alloc", "leave out type"), ("/timeline?group=entry", "known are")):
        r = c.get_plain(query)
        assert r.status_code == 400 and hint in r.json()["error"]["hint"], r.text


def test_blame_is_a_type_of_its_own(new_collector):
    c = filled(new_collector)
    b = Batch()
    b.add(labels(**{"podspy.sample.type": "gil_blame"}), [([SERVER, FLASK, PAY], 40, "running", 2, "b"),
                                                          ([OTHER], 5, "waiting", 1, "a")])
    assert c.push(b.bytes()).status_code == 200
    lines = c.get_plain("/profiles?pod=demo&view=gil-blame&format=collapsed&lines=0&group=entry").text.splitlines()
    assert sorted(lines) == ["[no entry];main (shop/main.py) 5", "pay (shop/views.py);pay (shop/views.py) 40"]
    assert shares(c.get_plain("/entries?pod=demo&view=gil-blame"))["pay"] == round(40 / 45, 6)
    assert sum(f["self"] for f in c.get_plain("/top?pod=demo").json()["functions"]) == 100  # CPU time has no blame in it
