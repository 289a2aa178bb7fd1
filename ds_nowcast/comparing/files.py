"""What an evaluation left, as far as comparing needs it: `scores.json`, and `windows.jsonl` with a line per window.

What is not compared is passed over, so that an evaluation may write more. Reading executes nothing from the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from data_prep.errors import UserError, printable
from data_prep.frames import GridUnit
from ds_nowcast.baselines import BASELINES
from ds_nowcast.config.nowcast_keys import Thresholds

MODEL = "model"
SCORES_NAME, WINDOWS_NAME = "scores.json", "windows.jsonl"
AGAIN = "evaluate the run again (python -m ds_nowcast.evaluate)"
_Count = Annotated[int, Field(ge=0, lt=2**53)]  # whole as a float64 too
_Positive = Annotated[int, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", protected_namespaces=())


class ModelNote(_Part):
    """The model that was evaluated."""

    name: str
    parameters: int
    step: int
    turned: bool = Field(False, description="whether it was scored in its mean over quarter turns")


class Task(_Part):
    """What was forecast, and how it was scored."""

    frames: _Positive = Field(description="input frames")
    leads: _Positive
    cadence_s: _Positive
    pixel: tuple[float, float]
    pixel_unit: GridUnit
    unit: str
    thresholds: Thresholds
    windows: _Positive
    split: str
    data: str = Field(description="how the windows relate to those trained on")
    index_hash: str
    model: ModelNote


class _Counts(_Part):
    hits: list[list[_Count]]  # [T][K]
    misses: list[list[_Count]]
    false_alarms: list[list[_Count]]
    pixels: list[_Count]  # [T]


class Forecast(_Part):
    """The scores of a forecast; of a baseline that was not made no counts, but the reason."""

    counts: _Counts | None = None
    absent: str | None = None


class ScoresFile(_Part):
    """`scores.json`."""

    task: Task
    model: Forecast
    persistence: Forecast = Forecast()
    extrapolation: Forecast = Forecast()
    climatology: Forecast = Forecast()

    def counts(self) -> dict[str, _Counts]:
        """Of the model, and of the baselines there are."""
        found = {name: getattr(self, name).counts for name in (MODEL, *BASELINES)}
        return {name: counts for name, counts in found.items() if counts is not None}


class WindowSums(_Part):
    """Sums over the scored pixels and lead times of a window; an error that is not finite is null."""

    squared_error: float | None
    absolute_error: float | None
    hits: list[_Count]  # [K]
    misses: list[_Count]
    false_alarms: list[_Count]


class WindowLine(_Part):
    """A line of `windows.jsonl`."""

    key: str
    time: AwareDatetime = Field(description="of the last observation")
    pixels: _Count
    model: WindowSums
    persistence: WindowSums | None = None
    extrapolation: WindowSums | None = None
    climatology: WindowSums | None = None


PartT = TypeVar("PartT", bound=_Part)


def read_scores(folder: Path) -> ScoresFile:
    """`scores.json`. Raises UserError where it is missing or damaged."""
    path = folder / SCORES_NAME
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    scores = _parsed(ScoresFile, content, f"{path} is damaged")
    if scores.model.counts is None:
        raise UserError(f"{path} is damaged: model.counts is missing; {AGAIN}")
    return scores


def read_windows(folder: Path) -> list[WindowLine]:
    """The lines of `windows.jsonl`. Raises UserError where it is missing or damaged, with the number of the line."""
    path, lines = folder / WINDOWS_NAME, []
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    raise UserError(f"{path} ends in the midst of line {number}; copy it again, or {AGAIN}")
                lines.append(_parsed(WindowLine, line, f"{path} is damaged in line {number}"))
    except OSError as error:
        raise _unreadable(path, error) from None
    return lines


def _parsed(part: type[PartT], content: bytes, damaged: str) -> PartT:
    try:
        return part.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "as a whole"
        raise UserError(f"{damaged}: {printable(place, 200)}: {first['msg']}; copy it again, or {AGAIN}") from None


def _unreadable(path: Path, error: OSError) -> UserError:
    folder = path.parent
    if folder.is_dir() and not path.exists():
        return UserError(f"{folder} has no {path.name}: it was not evaluated, or by a version before it; {AGAIN}")
    return UserError(f"{path} cannot be read ({error.strerror}); give the folder that an evaluation wrote")
