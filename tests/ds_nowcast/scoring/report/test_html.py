"""Nothing that is shown can break out of its element."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ds_nowcast.scoring.report.html import Html, joined, picture, table, tag
from tests.ds_nowcast.scoring.report.reading import Reading

HOSTILE = """</p><script>alert('1')</script> " onload="x &amp; \x1b[31m"""


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "a < b & c", tag("b", "d")) == "<p>a &lt; b &amp; c<b>d</b></p>"
    assert joined(["<i>", Html("<i>")]) == "&lt;i&gt;<i>"


def test_attributes_are_escaped_and_named_as_in_html() -> None:
    made = tag("p", class_='a"b', aria_label="<", tabindex=0, hidden=False, id=None)
    assert made == '<p class="a&quot;b" aria-label="&lt;" tabindex="0"></p>'


@settings(max_examples=30)
@given(st.text(max_size=20))
def test_any_text_is_one_text(text: str) -> None:
    read = Reading(tag("p", tag("b", text, title=text)))
    assert [name for name, _ in read.elements] == ["p", "b"] and read.unclosed == []
    assert read.text == read.attributes("title")[0]


def test_hostile_cells_and_captions_stay_in_their_table() -> None:
    read = Reading(table(HOSTILE, ["threshold", HOSTILE], [[HOSTILE, HOSTILE]]))
    assert {name for name, _ in read.elements} == {"div", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert "\x1b" not in read.text and read.text.count("alert") == 4


def test_a_picture_has_the_size_that_its_header_says() -> None:
    header = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (640).to_bytes(4, "big") + (480).to_bytes(4, "big")
    (image,) = [attributes for name, attributes in Reading(picture(header, HOSTILE)).elements if name == "img"]
    assert (image["width"], image["height"]) == ("640", "480")
    assert image["src"].startswith("data:image/png;base64,") and "onload" not in image
