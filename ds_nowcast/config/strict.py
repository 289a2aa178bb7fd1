"""Strict settings: an unknown key or a wrong type is an error that names the dotted path and the nearest right name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails

from data_prep.errors import UserError

SIMILAR = 0.6  # below this difflib ratio a name is not offered as the one that was meant
CLOSE = 0.85  # from here on a name of the same section is taken before an equal name of another section
NOWHERE = object()
LISTED = 16  # a section with more keys is not listed in an error


class Strict(BaseModel):
    """Base of every section of the config: frozen, no unknown keys, no conversion between JSON types.

    `refused` maps keys that others know but this trainer does not take to the reason, for the error message;
    `refused_tags` does the same for the tag (such as `type`) of a section that has several forms.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())
    refused: ClassVar[dict[str, str]] = {}
    refused_tags: ClassVar[dict[str, str]] = {}


ModelT = TypeVar("ModelT", bound=BaseModel)
Path = tuple[str | int, ...]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Size = Annotated[int, BeforeValidator(_whole)]
"""A whole number that may be written in powers of ten (5e8), as DeepSpeed's configs do for sizes."""


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError("null is no setting here; leave the key out")
    return value


class _NotNull(BeforeValidator):
    """Told to the JSON Schema, too."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        form = handler(core)
        others = [one for one in form.pop("anyOf", [form]) if one != {"type": "null"}]
        return others[0] if len(others) == 1 else {**form, "anyOf": others}


NOT_NULL = _NotNull(_not_null)
"""For a field whose default is None but whose reader fails on an explicit null: `Annotated[X | None, NOT_NULL]`."""


def parse(model_class: type[ModelT], data: object, where: str = "") -> ModelT:
    """`data` (decoded JSON) as a `model_class`.

    `where` (a file's name) begins each line of the error. Raises `UserError` with every problem on its own line: the
    dotted path of the key, what was given, what is allowed.
    """
    try:
        return model_class.model_validate(data)
    except ValidationError as error:
        problems = _problems(model_class, data, error.errors())
    prefix = f"{where}: " if where else ""
    raise UserError("\n".join(prefix + problem for problem in problems))


# Reading a model class: which sections, which keys, where else a key lives


def sections(annotation: Any) -> list[type[BaseModel]]:
    """The model classes an annotation can hold: itself, or those inside Optional, Union, Annotated and list."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in sections(part)]


def keys(model_class: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a section by the names that a file has for them."""
    return {field.alias or name: field for name, field in model_class.model_fields.items()}


def walk(model_class: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section below `model_class` with its dotted path; variants of one section come one after the other."""
    yield path, model_class
    for name, field in model_class.model_fields.items():
        for model in sections(field.annotation):
            yield from walk(model, f"{path}.{name}" if path else name)


@cache
def _homes(root: type[BaseModel]) -> dict[str, list[str]]:
    """Each key of the whole config with the dotted paths of the sections it is valid in."""
    homes: dict[str, list[str]] = {}
    for path, model in walk(root):
        for name in keys(model):
            if path not in homes.setdefault(name, []):
                homes[name].append(path)
    return homes


def _variants(models: list[type[BaseModel]], node: object) -> list[type[BaseModel]]:
    """Of several forms of one section those whose tag (a Literal field such as `type`) agrees with the data."""

    def agrees(model: type[BaseModel]) -> bool:
        tags = {n: get_args(f.annotation) for n, f in model.model_fields.items() if get_origin(f.annotation) is Literal}
        return all(node[name] in allowed for name, allowed in tags.items() if isinstance(node, dict) and name in node)

    return [model for model in models if agrees(model)] or models


def _child(node: object, key: str | int) -> Any:
    """`node[key]`, or NOWHERE if the data has no such place."""
    if isinstance(node, dict):
        return node.get(key, NOWHERE)
    return node[key] if isinstance(node, list) and isinstance(key, int) and key < len(node) else NOWHERE


def _descend(root: type[BaseModel], data: object, path: Path) -> tuple[list[type[BaseModel]], Any]:
    """The classes and the data of the section at `path`."""
    models, node = _variants([root], data), data
    for key in path:
        node = _child(node, key)
        if isinstance(key, str):
            inner = [m.model_fields[key].annotation for m in models if key in m.model_fields]
            models = _variants([section for annotation in inner for section in sections(annotation)], node)
    return models, node


# Which name was meant


def _ratio(given: str, name: str) -> float:
    return SequenceMatcher(None, given.lower(), name.lower()).ratio()


def _nearest(given: str, names: Sequence[str]) -> tuple[float, list[str]]:
    """The best ratio and the up to three names that reach almost that."""
    rated = sorted(((_ratio(given, name), name) for name in names), key=lambda pair: (-pair[0], pair[1]))
    best = rated[0][0] if rated else 0.0
    return best, [name for ratio, name in rated if ratio >= max(SIMILAR, best - 0.05)][:3]


def either(names: Sequence[str]) -> str:
    """A, B or C."""
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in path if part != "")


def _unknown(root: type[BaseModel], models: list[type[BaseModel]], section: Path, key: str) -> str:
    """The line for a key that its section does not have."""
    full = _dotted((*section, key))
    reason = next((m.refused[key] for m in models if issubclass(m, Strict) and key in m.refused), None)
    if reason:
        return f"'{full}' is not supported: {reason}"
    siblings = sorted({name for model in models for name in keys(model)})
    homes = _homes(root)
    here, near = _nearest(key, siblings)
    there, far = _nearest(key, list(homes))
    if key in homes and here < CLOSE:
        places = [f"in '{path}'" if path else "at the top level" for path in homes[key]]
        return f"unknown key '{full}'; it belongs {either(places[:4])}"
    if there > here and there >= SIMILAR:
        meant = [_dotted((path, name)) for name in far for path in homes[name]]
    else:
        meant = [_dotted((*section, name)) for name in near]
    if meant:
        return f"unknown key '{full}'; did you mean {either([repr(name) for name in meant[:3]])}?"
    known = f"the keys here are {', '.join(siblings)}" if len(siblings) <= LISTED else "no known key resembles it"
    return f"unknown key '{full}'; {known}"


# Turning pydantic's errors into lines

KINDS = {  # by the beginning of pydantic's name of an error
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "string": "a text",
    "list": "a list",
    "dict": "an object {...}",
    "model": "an object {...}",
}
_BOUNDS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "string_too_short": "at least {min_length} characters",
}


def _allowed(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**error["ctx"])
    return KINDS.get(kind.split("_")[0], error["msg"])


def _path(data: object, error: ErrorDetails) -> Path:
    """The error's location in the data: pydantic also names the variant of a union, which the user never wrote."""
    path: list[str | int] = []
    node, loc = data, error["loc"]
    for number, part in enumerate(loc):
        child = _child(node, part)
        if child is not NOWHERE:
            node = child
        elif error["type"] != "missing" or number < len(loc) - 1:
            continue
        path.append(part)
    return tuple(path)


def _shown(value: object) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."


def _missing(models: list[type[BaseModel]], path: Path) -> str:
    name = str(path[-1])
    about = next((m.model_fields[name].description for m in models if name in m.model_fields), None)
    return f"missing key '{_dotted(path)}'" + (f": {about}" if about else "")


def _untagged(root: type[BaseModel], data: object, path: Path, error: ErrorDetails) -> list[str]:
    """Lines for a section with several forms whose tag is missing: pydantic looks no further, a misspelled key may."""
    models, node = _descend(root, data, path)
    tag = error["ctx"]["discriminator"].strip("'")
    known = {name for model in models for name in model.model_fields}
    return [_missing(models, (*path, tag)), *(_unknown(root, models, path, key) for key in node if key not in known)]


def _wrong_tag(models: list[type[BaseModel]], path: Path, error: ErrorDetails) -> str:
    """The line for a section of several forms whose tag is none of theirs."""
    full = _dotted((*path, error["ctx"]["discriminator"].strip("'")))
    given, choices = error["ctx"]["tag"], error["ctx"]["expected_tags"]
    reason = next((m.refused_tags[given] for m in models if issubclass(m, Strict) and given in m.refused_tags), None)
    return f"{full} '{given}' is not supported: {reason}" if reason else f"{full} is '{given}'; give one of {choices}"


def _problems(root: type[BaseModel], data: object, errors: list[ErrorDetails]) -> list[str]:
    lines: list[str] = []
    allowed: dict[Path, tuple[object, list[str]]] = {}  # a union gives one error for each of its types
    for error in errors:
        path, kind = _path(data, error), error["type"]
        if kind == "extra_forbidden":
            lines.append(_unknown(root, _descend(root, data, path[:-1])[0], path[:-1], str(path[-1])))
        elif kind == "missing":
            lines.append(_missing(_descend(root, data, path[:-1])[0], path))
        elif kind == "union_tag_not_found":
            lines.extend(_untagged(root, data, path, error))
        elif kind == "union_tag_invalid":
            lines.append(_wrong_tag(_descend(root, data, path)[0], path, error))
        elif kind == "value_error":
            prefix = f"{_dotted(path)}: " if path else ""
            lines.extend(prefix + line for line in str(error["ctx"]["error"]).splitlines())
        else:
            allowed.setdefault(path, (error["input"], []))[1].append(_allowed(error))
    for path, (given, choices) in allowed.items():
        lines.append(f"{_dotted(path) or 'the config'} is {_shown(given)}; give {either(list(dict.fromkeys(choices)))}")
    return lines
