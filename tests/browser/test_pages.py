"""In a real browser a page is whole: on a phone and on a large screen, in the light and in the dark."""

from __future__ import annotations

import pytest

from tests.browser.conftest import BY

pytestmark = pytest.mark.browser

NAMES = [*BY, "compared"]
WIDTHS = (400, 1_400)
SCHEMES = ("light", "dark")

BEYOND = """
[...document.querySelectorAll("body *")]
  .filter(it => it.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map(it => `${it.tagName} ${it.textContent.slice(0, 40)}`)
"""
"""Elements that reach beyond the window, be it in a region that scrolls."""

NOT_TITLED = """
[...document.querySelectorAll("table")].flatMap(table => {
  const titles = [...table.querySelectorAll("thead th")]
  const shown = titles.every(it => it.getBoundingClientRect().width > 1
    && getComputedStyle(it.parentNode.parentNode).clipPath == "none")
  return [...table.querySelectorAll("tbody tr")].flatMap(line =>
    [...line.children].filter((cell, at) => {
      const box = cell.getBoundingClientRect()
      const above = getComputedStyle(cell, "::before").content
      const titled = shown || at == 0 || above == JSON.stringify(titles[at].textContent)
      return !(titled && box.width > 8 && box.height > 8 && box.left >= 0)
    }).map(cell => cell.textContent))
})
"""
"""Cells that are not seen, or whose title is not."""

CONTRASTS = """
(() => {
  const parsed = colour => colour.match(/[\\d.]+/g).map(Number)
  const light = colour => {
    const [r, g, b] = parsed(colour).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = it => {
    const colour = getComputedStyle(it).backgroundColor
    return parsed(colour)[3] === 0 && it.parentElement ? behind(it.parentElement) : colour
  }
  const contrast = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a)
    return (high + 0.05) / (low + 0.05)
  }
  const words = [...document.querySelectorAll("body *")].filter(
    it => [...it.childNodes].some(node => node.nodeType == 3 && node.data.trim())
      && !["title", "desc"].includes(it.tagName))
  const colour = it => it.tagName == "text" ? getComputedStyle(it).fill : getComputedStyle(it).color
  const marks = [...document.querySelectorAll("rect")]
  return {
    paper: light(getComputedStyle(document.body).backgroundColor),
    words: Math.min(...words.map(it => contrast(colour(it), behind(it)))),
    marks: Math.min(21, ...marks.map(it => contrast(getComputedStyle(it).fill, behind(it)))),
  }
})()
"""
"""How light the page is, and the least contrast of its words and of its marks with what is behind
(https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio).
"""

OVERLAPPING = """
[...document.querySelectorAll("svg")].flatMap(svg => {
  const labels = [...svg.querySelectorAll("text")].map(it => [it, it.getBoundingClientRect()])
  return labels.flatMap(([it, a], n) => labels.slice(n + 1)
    .filter(([_, b]) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
    .map(([other]) => [it.textContent, other.textContent]))
})
"""
"""Pairs of labels in a chart that lie on each other."""


@pytest.fixture(params=NAMES)
def page(request, pages):
    return pages[request.param]


@pytest.fixture(params=WIDTHS)
def width(request):
    return request.param


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_is_wider_than_the_window_and_no_column_is_lost(browser, page, width, scheme):
    browser.show(page, width, scheme)
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(BEYOND) == []
    assert browser.value(NOT_TITLED) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_words_and_marks_stand_out_in_both_colour_schemes(browser, page, width, scheme):
    browser.show(page, width, scheme)
    found = browser.value(CONTRASTS)
    assert (found["paper"] < 0.1) == (scheme == "dark")
    assert (found["paper"] > 0.8) == (scheme == "light")
    assert found["words"] >= 4.5
    assert found["marks"] >= 3.0


def test_nothing_is_asked_for_and_no_script_is_there(browser, page, width):
    browser.show(page, width, "light")
    assert browser.requests == [page.as_uri()]
    assert browser.value("document.scripts.length") == 0
    assert browser.value("performance.getEntriesByType('resource').length") == 0


def test_every_chart_says_what_it_shows_to_those_who_do_not_see_it(browser, page, width):
    browser.show(page, width, "light")
    nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]
    told = [node for node in nodes if node.get("role", {}).get("value") in ("img", "image")]
    assert len(told) == browser.value("document.querySelectorAll('svg').length")
    assert bool(told) == (page.stem != "compared")
    for node in told:
        assert node["name"]["value"]
        assert "The table below holds the same numbers." in node["description"]["value"]
    with_table = "svg.parentElement.querySelectorAll('tbody tr').length > 0"
    assert browser.value(f"[...document.querySelectorAll('svg')].every(svg => {with_table})")


def test_no_label_of_a_chart_lies_on_another(browser, page, width):
    browser.show(page, width, "light")
    assert browser.value(OVERLAPPING) == []
