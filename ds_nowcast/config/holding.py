"""What a rank needs with one value of a setting after another, activations aside: the plan's arithmetic of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from data_prep.errors import UserError
from ds_nowcast.config import RunConfig, changed
from ds_nowcast.config.schema import Form
from ds_nowcast.config.settings import best_batch
from ds_nowcast.config.tables import show, shown

if TYPE_CHECKING:
    from ds_nowcast.planning.peak import Peak

_TAGS = {"optimizer.type", "scheduler.type", "nowcast.model.name", "nowcast.model.preset"}  # other keys go with them
_SIZES = ("weights", "gradients", "optimizer", "buffers", "device", "host")
_COLUMNS = ("value", *(f">{name}" for name in _SIZES), "fullest in")


class Held(NamedTuple):
    """With one value of a setting."""

    value: Any
    own: bool  # whether it is the config's
    peak: Peak | None  # None where the value is refused
    refused: str  # why

    def to_json(self) -> dict[str, Any]:
        """Bytes of a rank by what they hold, or why it is refused."""
        if self.peak is None:
            return {"value": self.value, "refused": self.refused}
        sizes = {name: getattr(self.peak.parts, name) for name in _SIZES}
        return {"value": self.value, **sizes, "when": self.peak.when}


def held_by_value(config: RunConfig, key: str, form: Form, ranks: int) -> list[Held]:
    """What one of so many GPUs holds at the fullest moment of a step by each of a setting's few values; [] where all alike."""
    found = [] if key in _TAGS else [_held(config, key, value, ranks) for value in _values(form)]
    return found if len({one.peak for one in found if one.peak}) > 1 else []


def ranks_of(config: RunConfig, asked: int | None) -> int:
    """As asked, or the most over which the batch divides. Raises UserError where it does not divide."""
    return (best_batch(config) if asked is None else config.batch(asked)).ranks


def show_held(found: list[Held], ranks: int) -> None:
    """A table for people."""
    print(f"GB (10^9 bytes) of each of {ranks} GPUs at the fullest moment of a step, activations not counted:")
    show(_COLUMNS, [_row(one) for one in found])


def _row(one: Held) -> list[str]:
    name = ("> " if one.own else "  ") + shown(one.value)
    if one.peak is None:
        return [name, *("-" for _ in _SIZES), f"refused: {one.refused}"]
    return [name, *(f"{getattr(one.peak.parts, size) / 1e9:.3f}" for size in _SIZES), one.peak.when]


def _values(form: Form) -> list[Any]:
    if form.get("type") == "boolean":
        return [False, True]
    if form.get("type") == ["object", "null"] and "allOf" not in form:
        return [None, {"device": "cpu"} if "device" in form["properties"] else {}]
    return list(form.get("enum", []))


def _held(config: RunConfig, key: str, value: Any, ranks: int) -> Held:
    from ds_nowcast.models import outline_of  # these import torch
    from ds_nowcast.planning.peak import peak
    from ds_nowcast.planning.timeline import Moment
    from ds_nowcast.planning.training import training_of

    now = _value(config, key)
    own = now == value and type(now) is type(value)
    if isinstance(now, dict) and isinstance(value, dict):
        own, value = True, now
    try:
        other = config if own else changed(config, [f"{key}={shown(value)}"])
        batch = other.batch(ranks)
    except UserError as error:
        return Held(value, own, None, str(error).splitlines()[0].removeprefix("config: "))
    training = training_of(other, outline_of(other.nowcast), ranks, batch.accumulation, "cuda")
    backward = [Moment(number, 0, 0) for number in reversed(range(len(training.parameters)))]
    return Held(value, own, peak(training, backward, 0), "")


def _value(config: RunConfig, key: str) -> Any:
    found: Any = config.model_dump(mode="json", exclude_unset=True)
    whole: Any = config.model_dump(mode="json")
    for part in key.split("."):
        found, whole = (one.get(part) if isinstance(one, dict) else None for one in (found, whole))
    return whole if found is None else found
