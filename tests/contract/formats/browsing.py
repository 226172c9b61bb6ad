"""What a page did, as Chromium logged it."""

import json


def requests_of(driver):
    """The addresses that the page asked for since the last call."""
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return found


def errors_of(driver):
    """The console's lines since the last call, without those that only inform."""
    return [e for e in driver.get_log("browser") if e["level"] not in ("INFO", "DEBUG")]
