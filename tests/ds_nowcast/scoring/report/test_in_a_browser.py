"""The report in a real browser: on a phone and a desk, by day and by night."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser import Page

pytestmark = pytest.mark.slow

# of every piece of text that is seen: (contrast with its ground as WCAG 2.2 defines it, the text, its element)
CONTRASTS = """
(() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const light = rgb => rgb.slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const rgb = channels(getComputedStyle(e).backgroundColor);
      if (rgb.length === 3 || rgb[3] === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || element.closest('style')) continue;
    const style = getComputedStyle(element);
    const ink = element.closest('svg') ? style.fill : style.color;
    const both = [light(channels(ink)), light(ground(element))].sort((a, b) => b - a);
    found.push([(both[0] + 0.05) / (both[1] + 0.05), text, element.tagName]);
  }
  return found;
})()
"""
# elements that stick out of the page and have no box around them to scroll in
STICKING_OUT = """
[...document.querySelectorAll('main *')]
  .filter(e => !e.closest('.wide, pre, nav, details:not([open])') && e.getBoundingClientRect().right > innerWidth + 0.5)
  .map(e => e.outerHTML.slice(0, 80))
"""
SIZES = """
[...document.querySelectorAll('img, svg.chart')].map(e => {
  const box = e.getBoundingClientRect();
  return [box.width, box.height, e.tagName, e.tagName === 'IMG' ? e.complete && e.naturalWidth > 0 : e.querySelectorAll('text').length > 0];
})
"""

# pixels, of letters of 8 points, in each chart that is seen
SMALLEST_LETTERS = """
[...document.querySelectorAll('svg.chart')].filter(e => !e.closest('details:not([open])'))
  .map(e => 8 * e.getBoundingClientRect().width / e.viewBox.baseVal.width)
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_is_readable_in_a_browser(browser_page: Page, written: Path, width: int, theme: str) -> None:
    browser_page.open(written, width=width, theme=theme)
    browser_page.ask("document.querySelectorAll('details').forEach(part => part.open = true)")
    inner, page = browser_page.ask("[innerWidth, document.documentElement.scrollWidth]")
    assert inner == width and page <= inner
    assert browser_page.ask(STICKING_OUT) == []

    pictures: list[Any] = browser_page.ask(SIZES)
    assert len(pictures) == 49
    assert all(wide >= 250 and high >= 150 and whole for wide, high, _, whole in pictures)
    headings = browser_page.ask("[...document.querySelectorAll('h1, h2')].map(e => e.textContent)")
    assert headings == ["unet on test", "By lead time", "By threshold", "By scale", "Cases", "Training", "All scores",
                        "How it was made"]  # fmt: skip

    contrasts: list[Any] = browser_page.ask(CONTRASTS)
    assert len(contrasts) > 1000
    assert [words for words in contrasts if words[0] < 4.5] == []
    ground = browser_page.ask("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (theme == "light")

    assert browser_page.said == []
    assert [url for url in browser_page.asked if not url.startswith("data:")] == [written.resolve().as_uri()]


def test_the_letters_of_charts_are_large_enough_on_a_phone(browser_page: Page, written: Path) -> None:
    browser_page.open(written, width=390, theme="light")
    sizes = browser_page.ask(SMALLEST_LETTERS)
    assert len(sizes) == 28 and min(sizes) >= 10


def test_a_page_that_is_too_wide_or_complains_is_noticed(browser_page: Page, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<body><main><p style='width:900px;color:#999'>wide</p></main><script>console.error('x'); y()</script>"
    )
    browser_page.open(page, width=640, theme="light")
    assert browser_page.ask("document.documentElement.scrollWidth") > 640
    assert len(browser_page.ask(STICKING_OUT)) == 1
    assert browser_page.ask(CONTRASTS)[0][0] < 4.5
    assert len(browser_page.said) == 2
