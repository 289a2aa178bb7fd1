"""A key's schema in words: what is allowed."""

from __future__ import annotations

from collections.abc import Iterator

from ds_nowcast.config.schema import Form
from ds_nowcast.config.strict import KINDS, either
from ds_nowcast.config.tables import shown

_TYPES = {
    "boolean": KINDS["bool"],
    "integer": KINDS["int"],
    "number": KINDS["float"],
    "string": KINDS["string"],
    "object": KINDS["dict"],
    "null": "null",
}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
}


def allowed(form: Form) -> str:
    """What a key may be."""
    if "enum" in form or "const" in form:
        return either([shown(value) for value in form.get("enum", [form.get("const")])])
    if "anyOf" in form:
        return either([allowed(one) for one in form["anyOf"]])
    types = form["type"] if isinstance(form["type"], list) else [form["type"]]
    return either([_of_type(name, form) for name in types])


def _of_type(name: str, form: Form) -> str:
    if name == "array":
        count = form.get("minItems")
        size = f"{count} " if count and count == form.get("maxItems") else f"{count} or more " if count else ""
        return f"a list of {size}items, each {allowed(form['items'])}"
    bounds = list(_bounds(form)) if name in ("integer", "number") else []
    return _TYPES[name] + (f" ({', '.join(bounds)})" if bounds else "")


def _bounds(form: Form) -> Iterator[str]:
    return (words.format(form[key]) for key, words in _BOUNDS.items() if key in form)
