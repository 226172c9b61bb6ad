"""A real Chromium, headless, and what a page did in it, as Chromium logged it."""

import contextlib
import json
import shutil

import pytest

SWITCHES = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1200,700",
]


@contextlib.contextmanager
def chromium(folder, *switches):
    """A driver; skips the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="install python3-selenium")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("install chromium and chromium-driver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for switch in (*SWITCHES, f"--user-data-dir={folder}", *switches):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.set_capability("acceptInsecureCerts", True)  # the collector's own authority
    driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    try:
        yield driver
    finally:
        driver.quit()


def messages_of(driver):
    """What the DevTools protocol said since the last call."""
    return [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]


def requests_of(driver):
    """The addresses that the page asked for since the last call."""
    return [m["params"]["request"]["url"] for m in messages_of(driver) if m["method"] == "Network.requestWillBeSent"]


def errors_of(driver):
    """The console's lines since the last call, without those that only inform."""
    return [e for e in driver.get_log("browser") if e["level"] not in ("INFO", "DEBUG")]
