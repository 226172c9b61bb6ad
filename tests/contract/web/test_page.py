"""The page's views, as someone on call uses them: each item of what the page is for, driven in Chromium."""

import re
import subprocess
import time

import pytest
import scene

pytest.importorskip("selenium", reason="install python3-selenium")
from page import Page, wait_for  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

HOT_LINE = "shop/search.py:71"
CHECKOUT = "/#/profile?service=checkout"
VIEWS = {
    "pods": "/#/pods",
    "profile": CHECKOUT,
    "function": CHECKOUT + "&fn=edit_distance%09/srv/shop/shop/search.py",
    "threads": "/#/threads?pod=hung-0",
    "compare": "/#/compare?service=checkout&image=shop:2&base.image=shop:1",
}
SIZES = {"phone": (360, 740), "laptop": (1280, 800), "4k": (3840, 2160)}


def rows(page, within="main"):
    return [e.text for e in page.all(f"{within} .rows-body [role=row]") if e.is_displayed()]


def described(page):
    """What the flamegraph says of the frame that is chosen."""
    return page.text(".graphs .flame-line")


# --- from "checkout is slow" to the line ---

def test_three_clicks_lead_to_the_hot_line(page):
    page.open()
    page.click("main a", "checkout")  # 1: the service
    page.click(".functions button", "edit_distance")  # 2: the function that takes the most
    assert "edit_distance" in page.text(".sandwich h2") and HOT_LINE in page.text(".functions")
    assert page.text(".sandwich .hottest th") == "71"  # two were enough
    page.click("button", "Copy place")  # 3: for the editor


def test_the_keyboard_alone_leads_there(page):
    page.open()
    page.keys("/", "check", Keys.ENTER)
    assert page.place.startswith("/profile?") and "checkout" in page.place
    page.one(".graphs .flame-canvas").send_keys(Keys.ARROW_DOWN)
    for _ in range(20):
        if "edit_distance" in described(page):
            break
        page.keys(Keys.ARROW_DOWN)
    assert "edit_distance" in described(page)
    page.keys(Keys.ENTER)
    assert "zoom=" in page.place
    page.keys(Keys.SPACE)
    assert "edit_distance" in page.text(".sandwich h2")
    page.keys(Keys.ESCAPE, Keys.ESCAPE)
    assert "zoom=" not in page.place


# --- 1. pods ---

def test_pods_say_how_they_fare(page):
    page.open("/#/pods?by=none")
    text = page.text(".rows-box")
    assert "checkout-8e2a-bbbbb" in text and "3.11.2" in text
    assert "24" in page.one("[role=row]", "hung-0").text  # seconds of throttling: 4 in each of 6 windows
    assert "Operation not permitted" in page.one("[role=row]", "empty-0").text
    assert "silent" in page.one("[role=row]", "quiet-0").get_attribute("class")
    assert len(page.all(".sparkline path")) > 3


def test_a_search_as_one_types_and_filters_narrow_the_pods(page):
    page.open("/#/pods?by=none")
    page.keys("/", "bbbbb")
    assert rows(page) and "bbbbb" in rows(page)[0] and "hung" not in page.text(".rows-box")
    page.keys(Keys.ESCAPE)
    assert len(rows(page)) > 3
    page.script("const s = [...document.querySelectorAll('.filters select')].find((s) => s.closest('label').innerText"
                ".startsWith('Image')); s.value = 'hung:3'; s.dispatchEvent(new Event('change'));")
    page.settle()
    assert "hung-0" in page.text(".rows-box") and "checkout" not in page.text(".rows-box")


def test_pods_open_to_workers_and_threads(page):
    page.open("/#/pods?by=none&q=bbbbb")
    page.one(".rows-body [role=row]", "bbbbb").send_keys(Keys.ARROW_RIGHT)
    page.settle()
    wait_for("the workers", lambda: sum("gunicorn" in r for r in rows(page)) >= 2)
    assert len({r.get_attribute("aria-level") for r in page.all("[role=row][aria-level]")}) >= 3


def test_columns_sort(page):
    page.open("/#/pods?by=none")
    page.click("[role=columnheader] button", "Name")
    names = page.names()
    assert "sort=name" in page.place and len(names) > 4
    page.click("[role=columnheader] button", "Name")
    assert page.names() == names[::-1]


# --- 2. one selection ---

def test_a_part_of_the_timeline_is_chosen_by_dragging(page):
    page.open(CHECKOUT)
    before = described(page)
    over = page.one(".u-over")
    width = over.size["width"]
    ActionChains(page.driver).move_to_element_with_offset(over, width // 2 - width // 12, 0).click_and_hold() \
        .move_by_offset(width // 14, 0).release().perform()
    page.settle()
    assert "part=" in page.place and described(page) != before
    assert "GIL held" in page.text(".legend")
    page.open(CHECKOUT)
    assert re.search(r"\d samples missing", page.text(".legend"))  # lost, failed


def test_a_regular_expression_marks_what_it_matches(page):
    page.open(CHECKOUT)
    page.keys("/", "edit_d.stance|render")
    assert re.search(r"\d+\.\d %", page.text(".part-found"))
    assert len(rows(page, ".functions")) == 2
    page.one(".tools input.search").clear()
    page.keys("/", "(")
    assert page.one(".tools input.search").get_attribute("aria-invalid") == "true"


@pytest.mark.parametrize("switch, key", [("Inverted", "inverted"), ("Fold libraries", "fold"), ("Idle", "idle"),
                                         ("GIL only", "gil"), ("Native", "native"), ("Lines", "lines")])
def test_a_switch_is_in_the_address(page, switch, key):
    page.open(CHECKOUT)
    page.click(".part-tools button", switch)
    pressed = str(key != "native").lower()
    assert f"{key}=" in page.place and page.one(".part-tools button", switch).get_attribute("aria-pressed") == pressed
    place = page.place
    page.driver.refresh()
    page.settle()
    assert page.place == place
    assert page.one(".part-tools button", switch).get_attribute("aria-pressed") == pressed


def test_the_sandwich_has_callers_callees_and_lines(page):
    page.open(CHECKOUT + "&fn=search%09/srv/shop/shop/views.py")
    assert page.text(".sandwich h2") == "search"
    canvases = page.all(".sandwich canvas")
    assert len(canvases) == 2 and all(c.size["height"] > 30 for c in canvases)
    assert page.text(".sandwich .hottest th") == "31"


def test_colours_by_module_state_or_thread(page):
    def pixels(color):
        page.open(CHECKOUT + f"&color={color}&idle=1")
        return page.script("return document.querySelector('.graphs canvas').toDataURL()")
    assert len({pixels(color) for color in ("module", "state", "thread")}) == 3


# --- 3. threads now ---

def test_a_hung_pod_says_what_its_threads_wait_for(page):
    page.open("/#/threads?pod=hung-0")
    main = page.one("article.thread", "MainThread").text
    assert "All the time waiting in wait" in main and "called from pay" in main and "hung.py:20" in main


# --- 4. compare ---

def test_two_images_are_compared_and_what_is_no_chance_is_marked(page):
    page.open(VIEWS["compare"])
    assert re.search(r"\d+ functions? changed by more than chance", page.text(".summary"))
    row = next(r for r in rows(page) if "edit_distance" in r)
    assert "+" in row and "significant" in row
    page.click("button", "Side by side")
    assert len([c for c in page.all(".flame-pair canvas") if c.is_displayed()]) == 2


# --- 5. what leaves the page ---

def test_the_curl_command_gives_the_same(page):
    page.open(CHECKOUT)
    page.driver.execute_cdp_cmd("Browser.grantPermissions", {
        "origin": page.origin, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    page.click("button", "Copy curl")
    command = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    answer = subprocess.run(re.sub(r"-o \S+", "-o -", command), shell=True, capture_output=True, text=True, check=True)
    assert "edit_distance" in answer.stdout and "</svg>" in answer.stdout


def test_every_format_can_be_downloaded(page):
    page.open(CHECKOUT)
    page.click("button", "Download")
    links = [a.get_attribute("href") for a in page.all("dialog a")]
    assert len(links) >= 6
    for link in links:
        status, size = page.driver.execute_async_script(
            "fetch(arguments[0]).then(async (r) => arguments[1]([r.status, (await r.blob()).size]))", link)
        assert status == 200 and size > 300, link
    page.keys(Keys.ESCAPE)
    assert not page.all("dialog")


def test_speedscope_opens_on_the_selection(page):
    page.open(CHECKOUT)
    page.click("a", "speedscope")
    first, second = page.driver.window_handles
    page.driver.switch_to.window(second)
    try:
        wait_for("speedscope's view", lambda: page.driver.title not in ("", "speedscope"))
        ActionChains(page.driver).send_keys("3").perform()
        wait_for("its functions", lambda: "edit_distance" in page.text("body"))
        page.assert_quiet()
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)


# --- 6. live ---

def test_live_follows_new_data_and_keeps_the_zoom(browser, new_shop):
    page = Page(browser, f"http://127.0.0.1:{new_shop.http}")
    page.open(CHECKOUT + "&live=1&fn=edit_distance%09/srv/shop/shop/search.py")
    page.one(".graphs canvas").send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
    page.settle()
    place, before = page.place, page.text(".foot")
    b = scene.Scene()
    scene.shop(b, "checkout-8e2a-bbbbb", "shop:2", 700, time.time() - 30, 3)
    assert new_shop.push(b.bytes()).status_code == 200
    wait_for("the new data", lambda: page.text(".foot") != before)
    assert page.place == place and "zoom=" in place and page.text(".sandwich h2") == "edit_distance"
    page.assert_quiet()


def test_a_silent_pod_and_a_collector_that_ended_are_said(browser, new_shop):
    page = Page(browser, f"http://127.0.0.1:{new_shop.http}")
    page.open("/#/profile?pod=quiet-0")
    assert "Silent for 1" in page.text(".part-notes")
    assert new_shop.stop() == 0
    page.script("location.hash = '#/pods'")
    wait_for("what is wrong", lambda: "does not answer" in page.text("main"))


# --- 7. for everyone ---

@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_violation(page, axe, theme):
    for view, address in VIEWS.items():
        page.open(address, theme)
        page.script(axe)
        found = page.driver.execute_async_script("axe.run(document).then(arguments[0])")
        assert len(found["passes"]) > 10
        bad = [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found["violations"]]
        assert bad == [], view


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_every_screen(page, build_dir, size, theme):
    """Pictures of all are left in the build folder: web-screenshots/."""
    shots = build_dir / "web-screenshots"
    shots.mkdir(exist_ok=True)
    page.resize(*SIZES[size])
    for view, address in VIEWS.items():
        page.open(address, theme)
        wide = page.script("return document.documentElement.scrollWidth - innerWidth")
        page.driver.get_screenshot_as_file(str(shots / f"{view}-{size}-{theme}.png"))
        assert wide <= 0, f"{view} is {wide} pixels too wide"


def test_names_are_text_wherever_they_are_shown(page):
    evil, of_pod = page.quote(scene.EVIL), "/#/profile?pod=" + page.quote(scene.EVIL)
    page.open("/#/pods?by=none")
    assert scene.EVIL in page.text("main")
    for more in ("", "&color=thread", "&color=state&idle=1", "&fold=1", "&inverted=1", "&show=top"):
        page.open(of_pod + more)
        assert scene.EVIL in page.text("main")
    page.open(of_pod)
    page.click(".functions button", "<img")
    assert scene.EVIL in page.text(".sandwich h2")
    page.open("/#/threads?pod=" + evil)
    assert scene.EVIL in page.text("main")
    page.open(f"/#/compare?pod={evil}&base.from=-1h&find={evil}")
    assert scene.EVIL in page.text("main")
    page.open(f"{of_pod}&find={evil}")
    assert not page.all("main img, main script")


def test_the_first_view_is_below_300_kib(page):
    page.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    page.open()
    sizes = page.received()
    total = sum(sizes.values())
    print(f"\nthe first view: {total / 1024:.1f} KiB in {len(sizes)} answers")
    assert len(sizes) >= 3 and total < 300 * 1024


def test_over_tls_the_page_asks_for_the_token_and_sends_it_in_a_header(browser, shop):
    page = Page(browser, f"https://localhost:{shop.https}")
    page.open()
    assert "read token" in page.text("main")
    page.one("input[type=password]").send_keys("wrong", Keys.ENTER)
    wait_for("the refusal", lambda: "did not accept" in page.text("main"))
    page.forget_errors()  # the browser logs the 401
    page.one("input[type=password]").send_keys(shop.token("read"), Keys.ENTER)
    wait_for("the pods", lambda: "checkout" in page.text("main"))
    assert not [u for u in page.note_requests() if shop.token("read") in u]
    page.assert_quiet()
