"""The speedscope file opened in the real speedscope."""

import shutil
import time

import pytest

pytest.importorskip("selenium", reason="install python3-selenium")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402

from browsing import errors_of  # noqa: E402


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("not within %d s" % seconds)


@pytest.mark.parametrize("flags", [[], ["idle"]], ids=" ".join)
def test_speedscope_opens_it_and_shows_the_functions(
        browser, serve, make_profile, speedscope_dir, tmp_path, flags):
    shutil.copytree(speedscope_dir, tmp_path / "app")
    (tmp_path / "app" / "p.json").write_bytes(make_profile("speedscope", "title=shop", *flags))
    base = serve(tmp_path / "app")
    errors_of(browser)
    browser.get("about:blank")
    browser.get(f"{base}/#profileURL={base}/p.json&viewer=1")
    wait_for(lambda: "shop" in browser.title)

    def body():
        return browser.execute_script("return document.body.innerText")

    # The sandwich view (key 3) lists the functions as text.
    ActionChains(browser).send_keys("3").perform()
    text = wait_for(lambda: body() if "busy_70" in body() else None)
    assert "busy_30" in text and "checkout" in text
    assert [e for e in errors_of(browser) if e["level"] == "SEVERE"] == []
