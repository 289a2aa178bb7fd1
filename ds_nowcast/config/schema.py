"""The JSON Schema of a config file, made from the models that check it: for editors, and for what explains a config.

Draft-07, which editors know best: VS Code checks and completes all of it, and takes of later drafts a part only. Nothing is
referred to (`$ref`): draft-07 has no description beside a reference, and each section stands in one place anyway. Where a
section's keys depend on a name in it (an optimizer's `type`, a model's `name`), `if` and `then` choose them: an editor then
offers the keys of that name alone, and marks any other.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, NoDefault
from pydantic_core.core_schema import WithDefaultSchema

from ds_nowcast.config import RunConfig
from ds_nowcast.config.costs import COSTS

EXAMPLE = "python -m ds_nowcast.config schema > schema.json"
DRAFT = "http://json-schema.org/draft-07/schema#"
TITLE = "DS-Nowcast: the config of a training"
FILE = "schema.json"
"""Its name in ds_configs, and beside copies of the configs there."""
Form = dict[str, Any]
COSTS_WORD = ". Costs: "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(args: argparse.Namespace) -> int:
    """Prints it."""
    print(text(), end="")
    return 0


def text() -> str:
    """As it stands in ds_configs/schema.json."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def is_schema(path: Path) -> bool:
    """Whether a file is this schema, of whatever version."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("title") == TITLE


@cache
def schema() -> Form:
    """The whole schema. Not to be changed by who gets it."""
    from ds_nowcast.losses import LOSSES, loss_options  # these import torch

    root = section(RunConfig)
    ours = root["properties"]["nowcast"]["properties"]
    ours["model"] |= _models(ours["model"])
    weights, options = (ours["loss"]["properties"][name] for name in ("weights", "options"))
    weight = weights["additionalProperties"] | {"description": "weight of this loss in the sum"}
    weights |= {"properties": dict.fromkeys(LOSSES, weight), "additionalProperties": False}
    options |= {"properties": {name: section(loss_options(name)) for name in LOSSES}, "additionalProperties": False}
    _describe(root)
    return {"$schema": DRAFT, "title": TITLE, **root}


def section(model_class: type[BaseModel]) -> Form:
    """The schema of one section, what is in it included."""
    made = model_class.model_json_schema(schema_generator=_WithDefaults)
    form: Form = _inlined(made, made.get("$defs", {}))
    return form


def keys_of(form: Form, data: Mapping[str, Any]) -> dict[str, Form]:
    """The keys that a section may have: of its forms, the one that `data` chooses."""
    for case in form.get("allOf", []):
        ((tag, wanted),) = case["if"]["properties"].items()
        if data.get(tag, form["properties"][tag].get("default")) == wanted["const"]:
            return dict(case["then"]["properties"])
    return dict(form.get("properties", {}))


def every_key(form: Form, path: str = "") -> Iterator[tuple[str, Form]]:
    """The dotted path and the schema of each key there can be, sections included; once for each form that has it."""
    for whole in [case["then"] for case in form.get("allOf", [])] or [form]:
        for name, inner in whole.get("properties", {}).items():
            yield f"{path}{name}", inner
            yield from every_key(inner, f"{path}{name}.")


class _WithDefaults(GenerateJsonSchema):
    """Tells defaults that are made anew each time, too."""

    def get_default_value(self, schema: WithDefaultSchema) -> Any:
        factory = schema.get("default_factory")
        if factory is None:
            return schema.get("default", NoDefault)
        value = factory()  # type: ignore[call-arg]  # none of ours looks at the other keys
        return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value


def _inlined(form: Any, definitions: Form) -> Any:
    """A form without references, titles, and alternatives where a list of types says the same."""
    if not isinstance(form, dict):
        return form
    if "$ref" in form:
        target = definitions[form["$ref"].rpartition("/")[2]]
        form = {**target, **{key: value for key, value in form.items() if key != "$ref"}}
    if "discriminator" in form:
        tag, names = form["discriminator"]["propertyName"], form["discriminator"]["mapping"]
        forms = {name: _inlined({"$ref": reference}, definitions) for name, reference in names.items()}
        rest = {key: value for key, value in form.items() if key not in ("discriminator", "oneOf")}
        return {**rest, **_tagged(tag, forms)}
    found = {key: value for key, value in form.items() if key not in ("title", "$defs")}
    if "properties" in found:
        found["properties"] = {name: _inlined(inner, definitions) for name, inner in found["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = _inlined(found[key], definitions)
    if "anyOf" in found:
        return _merged(found, [_inlined(one, definitions) for one in found.pop("anyOf")])
    return found


def _merged(form: Form, forms: list[Form]) -> Form:
    """`form` with the alternatives `forms`; something or null is one form of two types."""
    null = {"type": "null"}
    others = [one for one in forms if one != null]
    if len(others) > 1:
        return {**form, "anyOf": forms}
    one = {**others[0], **form, "type": [others[0]["type"], "null"]}
    return one | ({"enum": [*one["enum"], None]} if "enum" in one else {})


def _tagged(tag: str, forms: Mapping[str, Form], default: str | None = None) -> Form:
    """A section whose keys depend on its `tag`; without it they are those of `default`, where there is one."""
    about = next(iter(forms.values()))["properties"][tag]["description"]
    choice: Form = {"type": "string", "enum": [*forms], "description": about}
    required: Form = {"required": [tag]}
    if default is not None:
        choice["default"] = default
    cases = []
    for name, form in forms.items():
        known = {**form, "properties": {**form["properties"], tag: choice}}
        known.pop("type")
        when = {"properties": {tag: {"const": name}}} | ({} if name == default else required)
        cases.append({"if": when, "then": known})
    return {"type": "object", "properties": {tag: choice}, **({} if default else required), "allOf": cases}


def _models(form: Form) -> Form:
    """The section of the model, each with its own options and presets."""
    from ds_nowcast.models import MODELS, model_options, model_presets

    own, forms = form["properties"], {}
    for name in MODELS:
        options, presets = section(model_options(name)), [*model_presets(name)]
        preset = {**own["preset"], "type": ["string", "null"], "enum": [*presets, None]}
        options["properties"] = {"name": own["name"], "preset": preset, **options["properties"]}
        forms[name] = options
    return {"additionalProperties": True, **_tagged("name", forms, own["name"]["default"])}


def _describe(root: Form) -> None:
    """Descriptions say null where Python says None, and what their key costs."""
    for key, form in every_key(root):
        about = re.sub(r"\bNone\b", "null", form.get("description", ""))
        costs = f"{COSTS_WORD}{COSTS[key]}" if key in COSTS else ""
        if about:
            form["description"] = about.removesuffix(costs) + costs  # a form may be that of several keys
