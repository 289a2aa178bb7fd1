"""Keys of a chart's lines as small SVG elements, for a legend in HTML: no plotting library."""

from __future__ import annotations

from data_prep.pictures.colours import LINES

_DASHES = {"-": "", "--": "6 3", "-.": "7 2.5 1.5 2.5", ":": "1.5 2.5"}
_MARKERS = {  # paths around (16, 7)
    "o": "M12.6 7a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0z",
    "s": "M12.8 3.8h6.4v6.4h-6.4z",
    "^": "M16 3l3.8 7.2h-7.6z",
    "v": "M16 11l3.8-7.2h-7.6z",
    "D": "M16 2.6l4.4 4.4l-4.4 4.4l-4.4-4.4z",
    "P": "M14.8 3h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8v-2.4h2.8z",
    "X": "M13.6 3l2.4 2.4l2.4-2.4l1.6 1.6l-2.4 2.4l2.4 2.4l-1.6 1.6l-2.4-2.4l-2.4 2.4l-1.6-1.6l2.4-2.4l-2.4-2.4z",
}


def line_key(look: tuple[str, str, str]) -> str:
    """A piece of a line, 32 x 14 pixels. look: its colour, dash and marker, see `charts.Chart.look`."""
    colour, dash, marker = look
    number = [line[0] for line in LINES].index(colour) if colour in [line[0] for line in LINES] else None
    variable = "--ink" if number is None else f"--line-{number}"
    line = f'<path d="M1 7h30" fill="none" stroke-width="1.8" stroke-dasharray="{_DASHES[dash] or "none"}"/>'
    mark = f'<path d="{_MARKERS[marker]}" stroke="none"/>' if marker else ""
    style = f"stroke:var({variable},{colour});fill:var({variable},{colour})"
    return f'<svg class="key" viewBox="0 0 32 14" width="32" height="14" aria-hidden="true" style="{style}">{line}{mark}</svg>'
