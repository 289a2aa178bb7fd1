"""HTML that cannot be broken by what it shows: text is escaped unless it is `Html`, which only these functions make."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Sequence
from html import escape

from data_prep.errors import printable


class Html(str):
    """Markup; any other text is escaped where it is put into some."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: str | int | bool | None) -> Html:
    """An element. attributes: a trailing `_` goes (`class_`), other `_` are `-`; False and None are left out."""
    words = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(f" {key}" if value is True else f' {key}="{escape(one_line(str(value)))}"')
    opening = f"<{name}{''.join(words)}>"
    return Html(opening if name in ("img", "meta") else f"{opening}{joined(content)}</{name}>")


def joined(parts: Iterable[str]) -> Html:
    """One after the other; what is not `Html` is escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(one_line(part)) for part in parts))


def one_line(text: str) -> str:
    """As it can be shown: control characters as escapes, URLs without their secrets."""
    return printable(text)


def section(name: str, title: str, *content: str) -> Html:
    """A part of the page that can be linked to as `#name`."""
    return tag("section", tag("h2", title), *content, id=name)


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """Scrolls in a box of its own where it is wider than the page. The first column says what a row is."""
    top = tag("tr", *(tag("th", word, scope="col") for word in head))
    body = joined(tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows)
    whole = tag("table", tag("caption", caption), tag("thead", top), tag("tbody", body))
    return tag("div", whole, class_="wide", tabindex=0, role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """Names and what they are."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs), class_="facts")


def picture(png: bytes, words: str) -> Html:
    """A PNG inside the page, in a box that scrolls where it is too wide to be read small."""
    width, height = struct.unpack(">II", png[16:24])
    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    image = Html(f'<img src="{source}" alt="{escape(one_line(words))}" width="{width}" height="{height}">')
    return tag("div", image, class_="wide film", tabindex=0, role="region", aria_label=words)
