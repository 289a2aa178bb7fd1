"""What a rank holds between two steps with one setting after another: the plan's arithmetic of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from data_prep.errors import UserError
from ds_nowcast.config import RunConfig, changed
from ds_nowcast.config.schema import Form
from ds_nowcast.config.settings import best_batch
from ds_nowcast.config.tables import shown

if TYPE_CHECKING:
    from ds_nowcast.planning.states import Parts

_TAGS = {"optimizer.type", "scheduler.type", "nowcast.model.name", "nowcast.model.preset"}  # other keys go with them


class Held(NamedTuple):
    """With one value of a setting."""

    value: Any
    parts: Parts | None  # None where the value is refused
    refused: str  # why

    def to_json(self) -> dict[str, Any]:
        """Bytes of a rank by what they hold, or why it is refused."""
        if self.parts is None:
            return {"value": self.value, "refused": self.refused}
        p = self.parts
        sizes = {"weights": p.weights, "gradients": p.gradients, "optimizer": p.optimizer, "buffers": p.buffers}
        return {"value": self.value, **sizes, "device": p.device, "host": p.host}


def held_by_value(config: RunConfig, key: str, form: Form, ranks: int | None) -> tuple[int, list[Held]]:
    """The number of ranks, and what one of them holds by each of a setting's few values; none where they hold alike.

    ranks: None takes the most over which the batch divides. Raises UserError where it does not divide over `ranks`.
    """
    count = (best_batch(config) if ranks is None else config.batch(ranks)).ranks
    found = [] if key in _TAGS else [_held(config, key, value, count) for value in _values(form)]
    return count, found if len({one.parts for one in found if one.parts}) > 1 else []


def _values(form: Form) -> list[Any]:
    if form.get("type") == "boolean":
        return [False, True]
    if form.get("type") == ["object", "null"] and "allOf" not in form:
        return [None, {}]
    return list(form.get("enum", []))


def _held(config: RunConfig, key: str, value: Any, ranks: int) -> Held:
    from ds_nowcast.models import outline_of  # these import torch
    from ds_nowcast.planning.states import steady
    from ds_nowcast.planning.training import training_of

    try:
        other = changed(config, [f"{key}={shown(value)}"])
        batch = other.batch(ranks)
    except UserError as error:
        return Held(value, None, str(error).splitlines()[0].removeprefix("config: "))
    return Held(value, steady(training_of(other, outline_of(other.nowcast), ranks, batch.accumulation, "cuda")), "")
