"""The page's views, in the order in which someone on call needs them."""

import pytest

VIEWS = {
    "pods": "/#/pods",
    "profile": "/#/profile?service=checkout",
    "function": "/#/profile?service=checkout&fn=edit_distance%09/srv/shop/shop/search.py",
    "threads": "/#/threads?pod=hung-0",
    "compare": "/#/compare?image=shop:2&base.image=shop:1",
}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_no_violation(page, axe, view, theme):
    page.open(VIEWS[view], theme)
    page.script(axe)
    found = page.driver.execute_async_script("axe.run(document).then(arguments[0])")
    assert len(found["passes"]) > 10
    assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found["violations"]] == []
