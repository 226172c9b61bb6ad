"""The page as a person has it: what is seen, clicked and typed, and what it did behind that."""

import time
import urllib.parse

from browsing import errors_of, messages_of
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By


class Page:
    # Before the page's own scripts: notes what its policy refused.
    WATCH = """window.refused = []; addEventListener('securitypolicyviolation', (e) =>
        refused.push(`${e.violatedDirective} ${e.blockedURI}`));"""

    def __init__(self, driver, origin):
        self.driver, self.origin, self.messages = driver, origin, []
        driver.get("about:blank")
        errors_of(driver), messages_of(driver)
        self.resize(1280, 800)

    def resize(self, width, height):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    # --- going ---

    def open(self, address="/", theme=None):
        self.driver.get("about:blank")  # else a change of what follows # loads nothing
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": theme or "light"}]})
        self.driver.get(self.origin + address)
        self.settle()

    def settle(self, quiet=0.25):
        """Until no question has been under way for a while, and what came is drawn."""
        wait_for("the page to be there", lambda: self.script(
            "return document.readyState === 'complete' && document.querySelector('main')?.childElementCount > 0"))
        last, count = time.monotonic(), -1
        end = last + 30
        while time.monotonic() - last < quiet:
            busy, n = self.script("return [Boolean(document.querySelector('[aria-busy=true]')),"
                                  "performance.getEntriesByType('resource').length]")
            if busy or n != count:
                last, count = time.monotonic(), n
            assert time.monotonic() < end, "the page does not come to rest"
            time.sleep(0.03)

    # --- looking ---

    def script(self, text, *args):
        return self.driver.execute_script(text, *args)

    def all(self, css, within=None):
        return (within or self.driver).find_elements(By.CSS_SELECTOR, css)

    def one(self, css, text=None, within=None):
        """The visible element, with this text in it."""
        def look():
            try:
                return [e for e in self.all(css, within) if e.is_displayed() and (text is None or text in e.text)]
            except StaleElementReferenceException:
                return None
        return wait_for(f"{css} with {text!r}", look)[0]

    def text(self, css="main"):
        return self.one(css).text

    def names(self):
        """Of the rows of a table, from the top."""
        return self.script("""return [...document.querySelectorAll('.rows-body [role=row]')]
            .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((row) => row.querySelector('a').textContent)""")

    @property
    def place(self):
        """The address after #, decoded."""
        return urllib.parse.unquote(self.driver.current_url.partition("#")[2])

    # --- doing ---

    def click(self, css, text=None):
        element = self.one(css, text)
        ActionChains(self.driver).move_to_element(element).click().perform()
        self.settle()

    def keys(self, *keys):
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()
        self.settle()

    @staticmethod
    def quote(text):
        return urllib.parse.quote(text, safe="")

    # --- judging ---

    def note_requests(self):
        """The addresses of all that was asked for so far."""
        self.messages += messages_of(self.driver)
        return [m["params"]["request"]["url"] for m in self.messages if m["method"] == "Network.requestWillBeSent"]

    def received(self):
        """{request: bytes on the wire} so far."""
        self.note_requests()
        return {m["params"]["requestId"]: m["params"]["encodedDataLength"]
                for m in self.messages if m["method"] == "Network.loadingFinished"}

    def forget_errors(self):
        errors_of(self.driver)

    def assert_quiet(self):
        foreign = [u for u in self.note_requests()
                   if not u.startswith((self.origin + "/", "data:", f"blob:{self.origin}", "about:"))]
        said = [e for e in errors_of(self.driver) if e["source"] != "rendering"]  # that is Chromium without a GPU
        assert not foreign, foreign
        assert not said, said
        assert not self.script("return window.refused"), self.script("return window.refused")
        assert self.script("return window.pwned") is None, self.script("return window.pwned")


def wait_for(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")
