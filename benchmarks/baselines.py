"""Skill and time of our baselines beside pysteps' extrapolation, on the first windows of a split's sequences.

pysteps (extra packages: pysteps and opencv-python-headless) has what its own examples do: `dense_lucaskanade` of the last
four frames in dB, then its semi-Lagrangian extrapolation, with rain beyond the edge as on the edge. Scores are over the
pixels seen in the last frame and at the lead time; CSI is pooled over leads.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.table import Table

from benchmarks.page import leave
from data_prep.console import ends_politely, positive, wide_console
from data_prep.encoding import Encoding
from data_prep.errors import UserError
from data_prep.shards.index import Shards, open_shards
from data_prep.shards.stored import read_sample
from ds_nowcast.baselines import extrapolation, persistence
from ds_nowcast.baselines.extrapolation import FRAMES
from ds_nowcast.config.nowcast_keys import Thresholds
from ds_nowcast.model_space import ModelSpace, Windows, in_model_space, threshold_labels, thresholds_of

EXAMPLE = "python -m benchmarks.baselines --shards east --split val --thresholds 0.5 2 8"
INPUT, LEADS = 13, 12
Forecast = Callable[[Windows], torch.Tensor]


class Skill(NamedTuple):
    """What is told of a forecast."""

    mse: float
    mae: float
    csi: list[float]
    milliseconds: float  # per window, median


def windows_of(shards: Shards, split: str, most: int | None = None) -> Iterator[Windows]:
    """The first window of each sequence, in batches of one, on the CPU."""
    if shards.index.frames < INPUT + LEADS:
        raise UserError(f"sequences have {shards.index.frames} frames; give shards of {INPUT + LEADS} or more")
    space = ModelSpace(shards.index.codes, INPUT, torch.device("cpu"))
    for number in range(min(most or sys.maxsize, shards.split(split).samples)):
        _, codes_THW = read_sample(shards, split, number)
        yield space.windows(torch.from_numpy(codes_THW[None, : INPUT + LEADS]))


def skill_of(forecast: Forecast, windows: Sequence[Windows], thresholds_K: torch.Tensor) -> Skill:
    """Scores of a forecast over windows."""
    seconds, errors = [], torch.zeros(3, dtype=torch.float64)
    hits_K, either_K = torch.zeros(len(thresholds_K)), torch.zeros(len(thresholds_K))
    for w in windows:
        begin = time.perf_counter()
        forecast_BTHW = forecast(w)
        seconds.append(time.perf_counter() - begin)
        scored = w.valid_BTHW & w.seen_BHW[:, None]
        said_N, was_N = forecast_BTHW[scored], w.target_BTHW[scored]
        d_N = (said_N - was_N).double()
        errors += torch.stack([d_N.square().sum(), d_N.abs().sum(), torch.tensor(float(len(d_N)))])
        for k, threshold in enumerate(thresholds_K):
            hits_K[k] += ((said_N >= threshold) & (was_N >= threshold)).sum()
            either_K[k] += ((said_N >= threshold) | (was_N >= threshold)).sum()
    squared, absolute, pixels = errors.tolist()
    return Skill(squared / pixels, absolute / pixels, (hits_K / either_K).tolist(), float(np.median(seconds)) * 1e3)


def pysteps_forecast(encoding: Encoding) -> Forecast:
    """pysteps' extrapolation. Raises ImportError where it, or opencv, is not installed."""
    with redirect_stdout(io.StringIO()):  # it tells where its settings lie
        import cv2
        from pysteps import nowcasts
    cv2.setNumThreads(torch.get_num_threads())
    extrapolate = nowcasts.get_method("extrapolation")

    def forecast(windows: Windows) -> torch.Tensor:
        motion = pysteps_motion(windows, encoding)
        last_HW = windows.past_BTHW[0, -1].double().numpy()
        with redirect_stdout(io.StringIO()):
            moved = extrapolate(last_HW, motion, LEADS, extrap_kwargs={"map_coordinates_mode": "nearest"})
        return torch.from_numpy(moved.astype(np.float32))[None]

    return forecast


def pysteps_motion(windows: Windows, encoding: Encoding) -> Any:
    """Motion (2, H, W), x then y, in pixels a frame, by pysteps' dense Lucas-Kanade; codes of both encodings are in dB."""
    with redirect_stdout(io.StringIO()):
        from pysteps import motion
    codes_THW = windows.past_BTHW[0, -FRAMES:].double().numpy() * encoding.missing
    frames_THW = (
        np.interp(codes_THW, np.arange(encoding.missing), encoding.values["dBZ"])
        if "dBZ" in encoding.units
        else codes_THW
    )
    frames_THW[~windows.past_seen[0, -FRAMES:].numpy()] = np.nan
    with redirect_stdout(io.StringIO()):
        return motion.get_method("LK")(frames_THW)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks.baselines", description="Skill of baselines.")
    parser.epilog = f"example: {EXAMPLE}"
    parser.add_argument("--shards", required=True, help="of sequences of 25 frames or more")
    parser.add_argument("--split", required=True)
    about = "in the archive's unit, or the encoding's where that has none (default: customary ones)"
    parser.add_argument("--thresholds", type=float, nargs="+", help=about)
    parser.add_argument("--max-windows", type=positive, metavar="N")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for the table as JSON (default: it is printed alone)")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="default 1")
    args = parser.parse_args(argv)
    return ends_politely(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    torch.set_num_threads(args.threads)
    shards = open_shards(Path(args.shards))
    encoding, unit = shards.index.codes, shards.index.unit
    given = Thresholds(unit=unit, values=args.thresholds) if args.thresholds else None
    thresholds = thresholds_of(encoding, unit, given)
    forecasts: dict[str, Forecast] = {
        "persistence": lambda windows: persistence.forecast(windows, LEADS),
        "extrapolation": lambda windows: extrapolation.forecast(windows, LEADS),
    }
    console = wide_console()
    try:
        forecasts["pysteps"] = pysteps_forecast(encoding)
    except ImportError as error:
        console.print(f"without pysteps ({error}): pip install pysteps opencv-python-headless")
    windows = list(windows_of(shards, args.split, args.max_windows))
    what = f"{len(windows)} windows of {shards.index.archive}, {INPUT} -> {LEADS} frames, {args.threads} threads"
    table = Table(title=what)
    labels = [f"CSI {label} {thresholds.unit}" for label in threshold_labels(thresholds)]
    for column in ("forecast", "MSE", "MAE", *labels, "ms a window"):
        table.add_column(column, no_wrap=column == "forecast")
    for name, forecast in forecasts.items():
        skill = skill_of(forecast, windows, in_model_space(encoding, thresholds))
        csi = [f"{value:.4f}" for value in skill.csi]
        table.add_row(name, f"{skill.mse:.5f}", f"{skill.mae:.4f}", *csi, f"{skill.milliseconds:.0f}")
    console.print(table)
    if args.out:
        leave(args.out, "baselines", what, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
