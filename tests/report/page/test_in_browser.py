"""The page in Chromium, without a window: it loads, sorts, filters, tells what hovers, and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.allocation.told import LayerLosses
from compress.report.page import Entry, Sample, write_page
from compress.report.sheet import line_of, write_samples
from compress.tasks.base import Figure
from tests.chromium import BROWSER, chromium
from tests.rows import FLOAT, INT4, INT8, RANDOM, row

pytestmark = [*BROWSER]

LOCK = {"evaluation_sha256": "ab", "recipe": {"task": {"image_classification": {"dataset": "demo"}}}}
TEXTS = {"evaluation_sha256": "cd", "recipe": {"task": {"translation": {"dataset": "demo"}}}}
WEIGHTS = {
    "weights": {f"layers.{number}.weight": {"num_bits": 4, "group_size": 32, "bytes": 9} for number in range(40)}
}
EVIL = "<script>document.title='run'</script>"
TRANSLATORS = [
    Entry(
        row(
            name,
            task="translation",
            model=f"A translator {EVIL}",
            size_bytes=size,
            model_bytes=size,
            parts={"body": size // 2, "tokenizer": size - size // 2},
            scores={"nll_per_token_lost": Figure(lost, lost - 0.02, lost + 0.02, 400)},
        ),
        TEXTS,
        WEIGHTS,
        (Sample("en-fr", 1, EVIL, "b", "Un chat.", f"Un {EVIL}."), Sample("en-de", 1, "a", "b", "Ja.", "Nein.")),
        2,
    )
    for name, size, lost in (("t-w3", 150_000_000, 0.4), ("t-w4", 200_000_000, 0.1), ("t-w8", 500_000_000, 0.2))
]
IMAGES = {"task": "image_generation", "model": "flow:digits"}
SCORES = {"frechet_digits_mlp": Figure(1.7, 1.2, 2.4, 200)}
DIGITS = {"evaluation_sha256": "ef", "recipe": {"task": {"image_generation": {"dataset": "digits"}}}}


def generators(directory: Path) -> list[Entry]:
    """Two, with the images of the same seeds; of the small one the budget was shared out."""
    images = np.random.default_rng(0).normal(size=(30, 1, 8, 8))
    losses = {f"layers.{number}": LayerLosses("4 bits", {"2 bits": 2.0**-number}) for number in range(39)}
    found = []
    for name, weights in (("g-float", {}), ("g-w4", WEIGHTS)):
        write_samples(directory / f"{name}.npz", images.astype(np.float32), "the same")
        one = row(name, **IMAGES, is_float=not weights, scores=SCORES, latency_ratio=None)
        line = line_of(directory / f"{name}.npz")
        found.append(Entry(one, DIGITS, weights, line=line, losses=losses if weights else {}))
    return found


ENTRIES = [*(Entry(one, LOCK) for one in (INT8, FLOAT, INT4, RANDOM)), *TRANSLATORS]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Any:
    from selenium.webdriver.support.wait import WebDriverWait

    write_page([*ENTRIES, *generators(tmp_path)], tmp_path / "page.html")
    size(browser, 1280)
    browser.get_log("browser")
    browser.get((tmp_path / "page.html").as_uri())
    # once, on a busy machine, an element of the page was not there yet
    WebDriverWait(browser, 20).until(lambda _: browser.execute_script("return document.readyState") == "complete")
    return browser


def size(browser: Any, width: int) -> None:
    given = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", given)


def theme(browser: Any, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def found(browser: Any, selector: str) -> list[Any]:
    return browser.find_elements("css selector", selector)  # type: ignore[no-any-return]


def names(browser: Any, selector: str) -> list[str]:
    return [element.get_attribute("data-name") for element in found(browser, selector) if element.is_displayed()]


def test_it_loads_without_a_complaint_and_runs_nothing_of_what_it_shows(opened: Any) -> None:
    assert opened.get_log("browser") == []
    assert opened.title == "compress: 9 runs"
    assert [len(found(figure, ".point")) for figure in found(opened, ".panel")] == [3, 3, 2]
    assert [image.get_property("naturalWidth") for image in found(opened, "img")] == 2 * [20 * 128 + 19 * 8]
    assert opened.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_a_policy_stops_scripts_that_are_not_the_page_s(opened: Any) -> None:
    injected = "const s = document.createElement('script'); s.textContent = 'window.bad = 1'; document.body.append(s)"
    opened.execute_script(injected)
    assert opened.execute_script("return window.bad") is None


def test_a_click_on_a_header_sorts_up_and_another_down(opened: Any) -> None:
    table = found(opened, "table.sortable")[0]
    header = table.find_elements("css selector", "thead th")[1]
    assert names(table, "tbody tr") == ["float", "w4", "w8a8"]
    header.find_element("css selector", "button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert names(table, "tbody tr") == ["w4", "w8a8", "float"]
    header.find_element("css selector", "button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert names(table, "tbody tr") == ["float", "w8a8", "w4"]
    difference = table.find_elements("css selector", "thead th")[4]
    for _ in range(2):  # the float row has no difference: last both ways
        difference.find_element("css selector", "button").click()
        assert names(table, "tbody tr")[-1] == "float"
    assert header.get_attribute("aria-sort") is None


def test_filters_go_through_all_of_the_page(opened: Any) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    found(opened, "#filter-name")[0].send_keys("W4")
    assert found(opened, "#count")[0].text == "3 of 9 runs"
    assert set(names(opened, ".of-run")) == {"w4", "t-w4", "g-w4"}
    assert [len(found(figure, ".point")) for figure in found(opened, ".panel")] == [1, 1, 1]
    assert names(opened, ".images") == ["g-w4"]
    found(opened, "#filter-kept")[0].click()
    assert set(names(opened, ".of-run")) == {"t-w4", "g-w4"}
    assert not found(opened, ".panel")[0].is_displayed()
    found(opened, "#filter-task option[value=image_classification]")[0].click()
    WebDriverWait(opened, 20).until(lambda _: found(opened, "#count")[0].text == "0 of 9 runs")
    assert not any(section.is_displayed() for section in found(opened, "main > section"))


def test_a_point_that_is_neared_tells_of_its_run(opened: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    tip = found(opened, "#tip")[0]
    assert not tip.is_displayed()
    point = next(p for p in found(opened, ".point .mark") if "t-w4" in p.find_element("xpath", "..").accessible_name)
    opened.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", point)
    ActionChains(opened).move_to_element(point).perform()
    assert tip.is_displayed()
    assert "t-w4" in tip.text
    assert "200.00 MB" in tip.text
    assert "+0.100 [+0.080, +0.120]" in tip.text


def test_the_frontier_leaves_out_what_another_run_beats_and_the_budget_is_drawn(opened: Any) -> None:
    images, texts, _ = found(opened, ".panel")
    line = texts.find_element("css selector", ".frontier").get_attribute("points")
    assert len(line.split()) == 2  # t-w8 is larger and loses more than t-w4
    assert len(found(texts, ".budget")) == 1
    assert found(images, ".budget") == []


def test_another_score_is_drawn_when_it_is_chosen(opened: Any) -> None:
    panel = found(opened, ".panel")[0]
    panel.find_elements("css selector", "select.score option")[1].click()
    assert len(found(panel, ".point")) == 2  # the float row has no difference


def test_a_layer_that_loses_more_is_drawn_hotter_and_one_that_was_not_asked_is_hatched(opened: Any) -> None:
    [strip] = found(opened, ".losses")
    first, *others, last = found(strip, ".cell")
    drawn = "return arguments.length && getComputedStyle(arguments[0])[arguments[1]]"
    colours = [opened.execute_script(drawn, each, "backgroundColor") for each in (first, others[0], others[-1])]
    assert len(set(colours)) == 3
    assert "repeating-linear-gradient" in opened.execute_script(drawn, last, "backgroundImage")


def test_translations_of_another_pair_are_shown_when_it_is_chosen(opened: Any) -> None:
    card = found(opened, ".samples")[0]
    card.find_element("css selector", "[data-pair=en-de]").click()
    assert [sample.get_attribute("data-pair") for sample in found(card, "dl") if sample.is_displayed()] == ["en-de"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_is_the_system_s_until_it_is_switched(opened: Any, scheme: str) -> None:
    theme(opened, scheme)
    ground = "return getComputedStyle(document.body).backgroundColor"
    before = opened.execute_script(ground)
    assert (sum(map(int, before[4:-1].split(","))) > 3 * 128) is (scheme == "light")
    found(opened, "#theme")[0].click()
    assert opened.execute_script(ground) != before


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(opened: Any, width: int) -> None:
    size(opened, width)
    assert opened.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    outside = "return all('main *').filter((e) => !e.closest('.scroll, .command, svg') && "
    outside += "e.getBoundingClientRect().right > innerWidth + 0.5).length"
    assert opened.execute_script(outside) == 0


def test_names_in_the_scatter_do_not_meet(opened: Any, tmp_path: Path) -> None:
    sizes = range(5_000_000, 8_000_000, 100_000)
    many = [Entry(row(f"run-{size}", model_bytes=size), LOCK) for size in sizes]
    write_page(many, tmp_path / "many.html")
    opened.get((tmp_path / "many.html").as_uri())
    boxes = opened.execute_script("return [...document.querySelectorAll('svg .label')].map((e) => e.getBBox())")
    assert 0 < len(boxes) < 30
    for place, one in enumerate(boxes):
        for other in boxes[:place]:
            apart = abs(one["x"] - other["x"]) >= min(one["width"], other["width"]) or abs(one["y"] - other["y"]) >= 12
            assert apart, (one, other)
