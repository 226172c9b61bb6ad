"""How the page's files are served: to anybody, with the types, policies and caching that browsers need."""

import gzip
import re
import subprocess

import pytest
import requests
from collector import REPO, Collector, usual_batch


def get(c, path, coding="gzip", method="GET", **headers):
    """Over TLS, without a credential; the bytes as they were sent."""
    r = requests.request(method, c.url(path), verify=c.ca, timeout=30, stream=True,
                         headers={"Accept-Encoding": coding, **headers})
    return r, r.raw.read(decode_content=False)


def loaded(c, path):
    """What a document names."""
    _, body = get(c, path, "identity")
    return re.findall(r'(?:src|href)="([^"#:]+)"', body.decode())


@pytest.mark.parametrize("path, base, script", [("/", "", "script-src 'self';"),
                                                ("/speedscope/", "/speedscope/", "script-src 'self' 'wasm-unsafe-eval';")])
def test_a_document_and_what_it_loads_come_without_a_credential(shop, path, base, script):
    r, _ = get(shop, path)
    assert r.status_code == 200 and r.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = r.headers["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; {script}") and "unsafe-inline" not in policy.split("style-src")[0]
    assert "frame-ancestors 'none'" in policy and "http" not in policy
    assert r.headers["Cache-Control"] == "no-cache"
    names = [n for n in loaded(shop, path) if n not in ("pods", "list")]
    assert len(names) >= 2
    for name in names:
        r, _ = get(shop, base + name)
        assert r.status_code == 200 and "html" not in r.headers["Content-Type"], name
        assert r.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert r.headers["X-Content-Type-Options"] == "nosniff"
    assert get(shop, "/pods")[0].status_code == 401


def test_both_forms_of_a_file_are_the_same(shop):
    script = next(n for n in loaded(shop, "/") if n.endswith(".js"))
    (packed, small), (plain, whole) = get(shop, script, "zstd, gzip"), get(shop, script, "identity")
    assert packed.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
    assert gzip.decompress(small) == whole and len(small) < len(whole) / 2
    assert packed.headers["ETag"] != plain.headers["ETag"] and "Accept-Encoding" in packed.headers["Vary"]
    for answer, coding in ((packed, "gzip"), (plain, "identity")):
        again, nothing = get(shop, script, coding, **{"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and nothing == b""
        head, nothing = get(shop, script, coding, method="HEAD")
        assert head.headers["Content-Length"] == answer.headers["Content-Length"] and nothing == b""


def test_other_paths_and_methods_are_refused(shop):
    for path in ("/assets/", "/assets/app.js", "/speedscope", "/speedscope/none.js", "/assets/../collector.yaml"):
        assert get(shop, path)[0].status_code in (401, 404), path
    assert get(shop, "/", method="POST")[0].status_code == 405
    known = shop.get_plain("/none").json()["error"]["hint"]
    assert "/speedscope/" in known and ".js" not in known


def test_the_licences_are_there(shop):
    assert "Permission is hereby granted" in get(shop, "/assets/licences.txt", "identity")[1].decode()
    for name in ("LICENSE.txt", "source-code-pro.LICENSE.md"):
        assert b"opyright" in get(shop, f"/speedscope/{name}", "identity")[1]


def test_without_the_page_the_list_is_at_the_root(program, tmp_path):
    c = Collector(program("collector_without_page"), tmp_path / "data")
    assert c.push(usual_batch().bytes()).status_code == 200
    for path in ("/", "/list"):
        assert "/profiles?pod=demo&amp;format=svg" in c.get(path).text
        assert get(c, path)[0].status_code == 401
    assert c.get("/speedscope/").status_code == 404
    assert c.stop() == 0


def test_without_npm_the_build_says_what_to_install(tmp_path):
    done = subprocess.run(["cmake", "-S", REPO, "-B", tmp_path, "-DPODSPY_TESTS=OFF", "-DNPM=OFF"],  # as if not found
                          capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and "apt-get install npm" in " ".join(done.stderr.split())
    assert "-DPODSPY_WEB=OFF" in done.stderr
