"""The trained models behind a forecast: one, or an ensemble of which the mean and the spread are given.

Axes of arrays: T input frames, L lead times, H rows (north first), W columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data_prep.errors import UserError
from ds_nowcast.exported import ModelCard, open_model
from ds_nowcast.forecasting.tiling import Mode, check_mode, forecast_domain
from ds_nowcast.forecasting.turned import Turned
from ds_nowcast.models import NowcastModel

KIND = ("input_frames", "output_frames", "encoding", "unit", "cadence_s", "pixel", "pixel_unit")


class Member(NamedTuple):
    """A trained model."""

    model: NowcastModel
    card: ModelCard
    file: Path


class Forecast(NamedTuple):
    """In the archive's unit, float32 (L, H, W), NaN where the radar did not see in the last frame."""

    values_LHW: NDArray[np.float32]
    spread_LHW: NDArray[np.float32] | None  # standard deviation of the members (divisor: one less than they are)


def open_members(
    runs: Iterable[Path], models: Iterable[Path], mode: Mode, device: torch.device, *, turned: bool = False
) -> tuple[Member, ...]:
    """The models of run folders and of .safetensors files. turned: each in its mean over quarter turns.

    Raises UserError as `open_model`, where they are not of one kind or the same, or `mode` is not for one of them.
    """
    asked: list[tuple[Path | None, Path | None]] = [
        *((run, None) for run in runs),
        *((None, model) for model in models),
    ]
    files = [model if run is None else run / "model.safetensors" for run, model in asked]
    members = tuple(
        Member(*open_model(run, model, device), file)
        for (run, model), file in zip(asked, files, strict=True)
        if file is not None
    )
    for number, member in enumerate(members):
        check_mode(mode, member.model, member.card.name)
        _check_alike(members[0], member)
        if member.file.resolve() in (other.file.resolve() for other in members[:number]):
            raise UserError(f"{member.file} is given twice; give each member of an ensemble once")
    return tuple(member._replace(model=Turned(member.model)) for member in members) if turned else members


def _check_alike(first: Member, other: Member) -> None:
    differing = [
        f"{name} {getattr(other.card, name)} where {first.file} has {getattr(first.card, name)}"
        for name in KIND
        if getattr(other.card, name) != getattr(first.card, name)
    ]
    if differing:
        raise UserError(
            f"{other.file} has {', '.join(differing)}; give members that were trained on data of one kind, with as many "
            "frames each"
        )


def forecast_of(
    members: Sequence[Member], codes_THW: NDArray[np.integer], mode: Mode, device: torch.device
) -> Forecast:
    """The mean of the members' forecasts, in the archive's unit, and with several their spread (Welford, 1962)."""
    mean_LHW, squares_LHW = _forecast(members[0], codes_THW, mode, device), None
    for number, member in enumerate(members[1:], 2):
        change_LHW = _forecast(member, codes_THW, mode, device)
        change_LHW -= mean_LHW
        squares_LHW = np.zeros_like(mean_LHW) if squares_LHW is None else squares_LHW
        for mean_HW, squares_HW, change_HW in zip(mean_LHW, squares_LHW, change_LHW, strict=True):
            mean_HW += change_HW / np.float32(number)
            squares_HW += change_HW**2 * np.float32((number - 1) / number)
    if squares_LHW is not None:
        squares_LHW /= np.float32(len(members) - 1)
        np.sqrt(squares_LHW, out=squares_LHW)
    return Forecast(mean_LHW, squares_LHW)


@torch.no_grad()
def _forecast(member: Member, codes_THW: NDArray[np.integer], mode: Mode, device: torch.device) -> NDArray[np.float32]:
    model, card, _ = member
    values_LHW: NDArray[np.float32] = forecast_domain(
        lambda pieces: model(pieces.to(device)),
        torch.from_numpy(codes_THW),
        card.shape,
        model.stride,
        mode=mode,
        receptive_field=model.receptive_field,
        table=torch.from_numpy(card.codes.model_table()),
    ).numpy()
    unseen_HW = codes_THW[-1] >= card.codes.missing
    for values_HW in values_LHW:  # one at a time: what is made on the way is float64
        values_HW[:] = card.codes.from_model(values_HW.clip(0.0, 1.0), card.unit)
        values_HW[unseen_HW] = np.nan
    return values_LHW
