"""The flamegraph as a person has it: a file on its own, opened in Chromium."""

import re

import pytest

etree = pytest.importorskip("lxml.etree", reason="install python3-lxml")
pytest.importorskip("selenium", reason="install python3-selenium")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from browsing import errors_of, requests_of  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
VIEWS = [[], ["idle"], ["idle", "gil"], ["idle", "threads"], ["idle", "processes", "threads"],
         ["idle", "no-native"], ["no-lines", "no-processes"], ["function-lines", "full"],
         ["idle", "max=7"], ["frames=3000"], ["empty"], ["seed=3", "idle"], ["seed=4", "idle", "threads"]]


@pytest.fixture
def page(browser, make_profile, serve, tmp_path):
    """page(*flags) opens the flamegraph and returns its address."""

    def open_it(*flags):
        (tmp_path / "graph.svg").write_bytes(make_profile("svg", *flags))
        url = serve() + "/graph.svg"
        errors_of(browser), requests_of(browser)
        browser.get(url)
        return url

    return open_it


def frame(driver, name):
    for f in driver.find_elements(By.CSS_SELECTOR, ".f"):
        if title(f).startswith(name):
            return f
    raise AssertionError(f"no frame {name}")


def title(element):
    return element.find_element(By.TAG_NAME, "title").get_attribute("textContent")


def shown(driver):
    return [text.split("\n")[0] for _, text, _ in boxes_of(driver)]


def boxes_of(driver):
    """(class, title, width in pixels) of each frame that is shown."""
    return driver.execute_script("""
        return Array.from(document.querySelectorAll('.f:not(.hidden)'), f => [f.getAttribute('class'),
            f.querySelector('title').textContent, f.querySelector('rect').getBoundingClientRect().width])""")


def search(driver, text):
    box = driver.find_element(By.ID, "search")
    ActionChains(driver).click(box).key_down(Keys.CONTROL).send_keys("a").key_up(
        Keys.CONTROL).send_keys(text).perform()
    return box


def click(driver, element):
    ActionChains(driver).move_to_element(element).click().perform()


@pytest.mark.parametrize("flags", VIEWS, ids=" ".join)
def test_svg_is_well_formed_with_only_its_own_script(make_profile, flags):
    root = etree.fromstring(make_profile("svg", *flags), etree.XMLParser(resolve_entities=False))
    assert root.tag == SVG + "svg"
    scripts = list(root.iter(SVG + "script"))
    assert len(scripts) == ("empty" not in flags) and not any(s.attrib for s in scripts)
    tags = {etree.QName(e).localname for e in root.iter(etree.Element)}
    assert tags <= {"svg", "title", "style", "text", "foreignObject", "input", "g", "rect", "script",
                    "metadata", "path"}
    for element in root.iter(etree.Element):
        for name, value in element.attrib.items():
            assert not name.startswith("on") and "href" not in name
            assert "http" not in value and "javascript" not in value


def test_tooltips_have_counts_and_percentages(make_profile):
    root = etree.fromstring(make_profile("svg"))
    titles = [t.text for t in root.iter(SVG + "title")]
    assert any(re.fullmatch(r"busy_70 \(app/work.py:12\)\n700 samples, 43\.\d\d %, 7\.00 s", t)
               for t in titles), titles
    assert any(t.startswith("all\n1605 samples, 100.00 %") for t in titles)


def test_markup_in_names_is_shown_as_text(browser, page):
    page("idle")
    assert frame(browser, "</script><script>alert(1)</script>")
    assert frame(browser, "]]> & \"quoted\" 'both' (app/odd;name.py:4)")
    assert frame(browser, "bell  esc [31m tab  nl  end")
    assert frame(browser, "\U0001f40d snake_\u6f22\u5b57")
    assert frame(browser, "\u05e9\u05dc\u05d5\u05dd \ufffdflip")
    assert not browser.find_elements(By.TAG_NAME, "img")
    from selenium.webdriver.support import expected_conditions
    assert not expected_conditions.alert_is_present()(browser)


def test_svg_loads_nothing_and_logs_no_error(browser, page):
    url = page("idle")
    frame(browser, "checkout").click()
    search(browser, "busy")
    asked = [u for u in requests_of(browser) if not u.endswith("/favicon.ico")]
    assert asked == [url]
    assert [e for e in errors_of(browser) if "favicon" not in e["message"]] == []


def test_click_zooms_and_reset_shows_all(browser, page):
    page()
    everything = shown(browser)
    reset = browser.find_element(By.ID, "reset")
    assert not reset.is_displayed()
    width = frame(browser, "busy_30").rect["width"]
    click(browser, frame(browser, "checkout (app/views.py:42)"))
    assert [n.split(" ")[0] for n in shown(browser)] == [
        "all", "gunicorn:", "<module>", "run", "handle_request", "checkout", "busy_30", "busy_30"]
    assert frame(browser, "busy_30").rect["width"] > 3 * width
    assert frame(browser, "all").rect["width"] == frame(browser, "run").rect["width"]
    click(browser, reset)
    assert shown(browser) == everything
    assert not reset.is_displayed()


def test_svg_works_with_the_keyboard_alone(browser, page):
    page()
    everything = shown(browser)

    def press(*keys):
        ActionChains(browser).send_keys(*keys).perform()

    def focus():
        active = browser.switch_to.active_element
        return active.get_attribute("id") or title(active).split("\n")[0].split(" ")[0]

    press(Keys.TAB)
    if focus() != "search":  # the page itself, which scrolls, may come first
        press(Keys.TAB)
    assert focus() == "search"
    press(Keys.TAB)
    assert focus() == "all"
    press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert focus() == "checkout"
    assert "checkout (app/views.py:41)" in browser.find_element(By.ID, "details").text
    press(Keys.ARROW_RIGHT, Keys.ENTER)
    assert "busy_70 (app/work.py:12)" not in shown(browser)
    press(Keys.ARROW_UP)
    assert focus() == "handle_request"
    press(Keys.ESCAPE)
    assert shown(browser) == everything
    press("/", "busy")
    assert focus() == "search"
    assert browser.find_element(By.ID, "search").get_attribute("value") == "busy"
    press(Keys.ESCAPE)
    assert browser.find_element(By.ID, "search").get_attribute("value") == ""


def test_search_marks_matches_and_adds_their_share(browser, page):
    page()
    told = browser.find_element(By.ID, "matched")
    search(browser, "^busy_(30|70)")
    marked = browser.find_elements(By.CSS_SELECTOR, ".f.m")
    assert len(marked) == 3
    assert told.text == "Matched: 62.31 %"  # 1000 of 1605
    assert marked[0].find_element(By.TAG_NAME, "rect").value_of_css_property("fill") != \
        frame(browser, "checkout").find_element(By.TAG_NAME, "rect").value_of_css_property("fill")
    search(browser, "walk")  # recursion counts once
    assert told.text == "Matched: 7.48 %"
    box = search(browser, "a[")
    assert told.text == "not a regular expression"
    assert box.get_attribute("aria-invalid") == "true"
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert told.text == "" and not browser.find_elements(By.CSS_SELECTOR, ".f.m")


def texts_that_show(driver):
    """(name, text, width of the text, width of the frame) of each frame that bears a text."""
    for f in driver.find_elements(By.CSS_SELECTOR, ".f:not(.hidden)"):
        texts = f.find_elements(By.CSS_SELECTOR, "text")
        if texts and texts[0].text:
            box = f.find_element(By.TAG_NAME, "rect")
            yield (title(f).split("\n")[0], texts[0].text, texts[0].rect["width"],
                   box.rect["width"])


@pytest.mark.parametrize("zoom", [False, True])
def test_names_are_truncated_to_their_frame(browser, page, zoom):
    page("idle", "threads")
    if zoom:
        click(browser, frame(browser, "handle_request"))
    rows = [r for r in texts_that_show(browser) if r[0].isascii()]
    assert len(rows) > 8
    assert zoom or any(text.endswith("\u2026") for _, text, _, _ in rows)
    for name, text, width, room in rows:
        assert width <= room, (name, text)
        assert text == name or text.endswith("\u2026")


def luminance(css):
    def linear(c):
        return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
    r, g, b = (linear(int(c) / 255) for c in re.findall(r"\d+", css)[:3])
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a, b):
    x, y = sorted((luminance(a), luminance(b)))
    return (y + 0.05) / (x + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_svg_is_legible_in_light_and_dark(browser, page, scheme):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": scheme}]})
    try:
        page("idle")
        paper = browser.find_element(By.TAG_NAME, "svg").value_of_css_property("background-color")
        assert (luminance(paper) > 0.5) == (scheme == "light")
        for text in browser.find_elements(By.CSS_SELECTOR, "svg > text"):
            assert contrast(text.value_of_css_property("fill"), paper) >= 4.5
        search(browser, "walk")
        for f in browser.find_elements(By.CSS_SELECTOR, ".f"):
            for text in f.find_elements(By.CSS_SELECTOR, "text"):
                rect = f.find_element(By.TAG_NAME, "rect")
                assert contrast(text.value_of_css_property("fill"),
                                rect.value_of_css_property("fill")) >= 4.5, title(f)
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_an_empty_svg_says_why(browser, page):
    page("empty")
    assert "No samples" in browser.find_element(By.ID, "empty").text
    assert errors_of(browser) == [] or all("favicon" in e["message"] for e in errors_of(browser))


def carried(svg):
    """(steps up, name, own samples) of each node that the file carries for its script."""
    text = etree.fromstring(svg).find(SVG + "metadata").text
    _, files, names, nodes = re.match(r"(.*?)\n(.*?\n|)\n(.*?\n)\n(.*)", text, re.S).groups()
    names = [line.split(" ", 2)[2] for line in names.splitlines()]
    for node in nodes.split(" "):
        up, what, line, own = ([int(n or "0", 36) for n in node.split(",")] + [0] * 4)[:4]
        yield up, names[what - 1] if what else "(other)", own


def test_folded_frames_keep_the_totals(make_profile):
    whole = list(carried(make_profile("svg", "idle")))
    few = list(carried(make_profile("svg", "idle", "max=7")))
    assert sum(own for _, _, own in few) == sum(own for _, _, own in whole) == 2505
    assert 7 <= len(few) < len(whole)
    assert any(name == "(other)" for _, name, _ in few)


def drawn(svg):
    """The boxes that are there without a script: (class, title, share) each, and those in paths."""
    graph = next(e for e in etree.fromstring(svg).iter(SVG + "svg") if e.get("id") == "graph")
    elements = [(e.get("class"), e.find(SVG + "title").text, float(e.get("width")[:-1]) / 100) for e in graph.findall(SVG + "svg")
                if e.get("class")]
    return elements, sum(p.get("d").count("M") for p in graph.iter(SVG + "path"))


def test_a_large_svg_is_below_a_megabyte_with_every_frame(make_profile):
    svg = make_profile("svg", "frames=20000")
    assert len(svg) < 1000 * 1000
    nodes = list(carried(svg))
    assert len(nodes) > 19800
    elements, boxes = drawn(svg)
    assert 100 < len(elements) <= 1000 and len(elements) + boxes < len(nodes)
    assert not any(t.startswith("needle_50") for _, t, _ in elements)
    assert any(name == "needle_50" for _, name, _ in nodes)


@pytest.mark.parametrize("flags", [v for v in VIEWS if "empty" not in v], ids=" ".join)
def test_the_script_draws_the_same_picture_as_the_static_one(browser, page, make_profile, flags):
    page(*flags)
    before, boxes = drawn(make_profile("svg", *flags))
    now = [(kind.removesuffix(" thin"), text) for kind, text, _ in boxes_of(browser)]
    wide = [(kind, text) for kind, text, share in before if share > 0.001]
    assert set(wide) <= set(now)
    if len(wide) == len(before) and not boxes:
        assert sorted(wide) == sorted(now)
    assert [e for e in errors_of(browser) if "favicon" not in e["message"]] == []


def test_search_finds_frames_too_narrow_to_draw_and_enter_zooms(browser, page):
    page("frames=20000")
    assert "needle_50" not in " ".join(shown(browser))
    search(browser, "^needle_50")
    assert browser.find_element(By.ID, "matched").text == "Matched: 0.00 %"
    marked = browser.find_elements(By.CSS_SELECTOR, ".f.m:not(.hidden)")
    assert [title(f).split("\n")[0] for f in marked] == ["needle_50 (app/hay.py:7)"]
    box = marked[0].find_element(By.TAG_NAME, "rect")
    assert box.rect["width"] >= 0.9 and box.value_of_css_property("stroke") == "none"
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert shown(browser) == ["all", "haystack (app/hay.py:3)", "needle_50 (app/hay.py:7)"]
    assert browser.find_element(By.ID, "matched").text == "Matched: 100.00 %"
    assert re.fullmatch(r"needle_50 \(app/hay\.py:7\) \| 1 samples, 0\.00 %, 0\.01 s",
                        browser.find_element(By.ID, "details").text)
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert "needle_50" not in " ".join(shown(browser))


def test_zoom_draws_the_narrow_frames(browser, page, make_profile):
    page("frames=20000")
    frames = len(list(carried(make_profile("svg", "frames=20000"))))
    assert len(shown(browser)) < frames
    method = next(f for f in browser.find_elements(By.CSS_SELECTOR, ".f:not(.hidden)")
                  if f.find_element(By.TAG_NAME, "rect").rect["width"] < 3)
    name, counts = title(method).split("\n")[:2]
    browser.execute_script("arguments[0].dispatchEvent(new Event('click', {bubbles: true}))", method)
    width = method.find_element(By.TAG_NAME, "rect").rect["width"]
    assert width == frame(browser, "all").find_element(By.TAG_NAME, "rect").rect["width"] > 1000
    assert title(method).split("\n")[:2] == [name, counts]
    assert all(width >= 0.9 for _, _, width in boxes_of(browser))
