"""A forecast from an archive's newest frames: CF netCDF, a GeoTIFF, a picture, an animation."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from data_prep.building.account import show_left_out
from data_prep.building.layout import WHOLE_FRAMES, AnotherGridError, read_sequence, usual_layout
from data_prep.building.left_out import LeftOuts
from data_prep.building.sequences import FrameRef, follows
from data_prep.building.sequences import Sequence as Run
from data_prep.console import ends_politely
from data_prep.errors import RadarFileError, UserError, without_secrets
from data_prep.files import check_writable, writing
from data_prep.frames import Grid
from data_prep.pictures import Strip, forecast_gif, forecast_picture
from data_prep.readers import READERS, Recording, reader_named
from data_prep.times import iso, utc
from data_prep.workers import Pool, WorkerDiedError, Workers
from ds_nowcast.exported import ModelCard, open_model
from ds_nowcast.forecasting.geotiff import write_geotiff
from ds_nowcast.forecasting.netcdf import write_forecast
from ds_nowcast.forecasting.tiling import forecast_domain
from ds_nowcast.launch.ending import parser
from ds_nowcast.models import NowcastModel
from ds_nowcast.ranks import device_of

EXAMPLE = (
    "python -m ds_nowcast.forecast --run runs/unet --format knmi --source 'latest/*.h5' \\\n"
    "      --out forecast.nc --picture forecast.png --gif forecast.gif"
)


class Observed(NamedTuple):
    """The newest frames of an archive."""

    codes_THW: NDArray[np.integer]
    times: tuple[datetime, ...]
    grid: Grid


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = parser("python -m ds_nowcast.forecast", "Forecast from an archive's newest frames.", EXAMPLE)
    which = options.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", type=Path, metavar="DIR", help="run folder; its best evaluated step forecasts")
    which.add_argument("--model", type=Path, metavar="FILE", help="a .safetensors file with its .json beside it")
    options.add_argument("--format", required=True, metavar="NAME", help=f"of the archive: {', '.join(READERS)}")
    options.add_argument("--source", required=True, nargs="+", metavar="PATH", help="folders, files or globs")
    options.add_argument("--product", metavar="NAME", help="which, where the files hold several")
    options.add_argument("--out", required=True, type=Path, metavar="FILE.nc", help="netCDF file to write")
    options.add_argument("--geotiff", type=Path, metavar="FILE.tif", help="GeoTIFF to write, a band per lead time")
    options.add_argument("--picture", type=Path, metavar="FILE.png", help="picture to write")
    options.add_argument("--gif", type=Path, metavar="FILE.gif", help="animation to write")
    args = options.parse_args(argv)
    return ends_politely(lambda: forecast(args))


def forecast(args: Namespace) -> int:
    """Writes the files asked for. Returns 0; raises UserError, DataError where a disk does not take them."""
    pairs = ((args.out, ".nc"), (args.geotiff, ".tif", ".tiff"), (args.picture, ".png"), (args.gif, ".gif"))
    files = [path for path, *_ in pairs if path is not None]
    for path, *endings in pairs:
        if path is not None:
            check_writable(path, *endings)
    device = device_of(0)
    model, card = open_model(args.run, args.model, device)
    past = newest_frames(args.format, args.source, card, args.product)
    values_LHW = predict(model, card, past, device)
    with writing(args.out):
        _write(args, values_LHW, past, card)
    if not args.quiet:
        last = past.times[-1] + timedelta(seconds=card.cadence_s * card.output_frames)
        print(f"forecast from {iso(past.times[-1])} to {iso(last)}: {', '.join(map(str, files))}")
    return 0


def _write(args: Namespace, values_LHW: NDArray[np.float32], past: Observed, card: ModelCard) -> None:
    leads = [timedelta(seconds=card.cadence_s * lead) for lead in range(1, card.output_frames + 1)]
    unit = card.unit
    source = f"DS-Nowcast {card.name}, {card.parameters} parameters, step {card.step}"
    history = without_secrets(shlex.join(["python -m ds_nowcast.forecast", *sys.argv[1:]]))
    about: dict[str, Any] = {
        "unit": unit,
        "grid": past.grid,
        "reference_time": past.times[-1],
        "lead_s": [int(lead.total_seconds()) for lead in leads],
        "source": source,
        "history": history,
    }
    write_forecast(args.out, values_LHW, **about)
    if args.geotiff:
        write_geotiff(args.geotiff, values_LHW, **about)
    strips = (
        Strip("Observed", card.codes.decode(past.codes_THW, unit), past.times),
        Strip("Forecast", values_LHW, [past.times[-1] + lead for lead in leads]),
    )
    title = f"Nowcast of the next {leads[-1].total_seconds() / 60:g} minutes"
    if args.picture:
        forecast_picture(args.picture, *strips, unit=unit, grid=past.grid, title=title)
    if args.gif:
        forecast_gif(args.gif, *strips, unit=unit, grid=past.grid, title=title)


def newest_frames(archive: str, sources: Sequence[str], card: ModelCard, product: str | None = None) -> Observed:
    """The last `input_frames` frames. Raises UserError where they are not all there or not of the model's kind.

    Files are opened in a process that is limited, as in a build: one that kills it is left out, or named.
    """
    with Workers(1) as pool:
        try:
            return _newest_frames(pool, archive, sources, card, product)
        except WorkerDiedError as error:
            raise error.told("the archive was read", "less else running") from None


def _newest_frames(pool: Pool, archive: str, sources: Sequence[str], card: ModelCard, product: str | None) -> Observed:
    reader, where = reader_named(archive), " ".join(sources)
    scan = reader.scan(sources, product, pool.each)
    if scan.left_out:
        show_left_out(Console(stderr=True, highlight=False), LeftOuts.of(scan.left_out))
    recordings = scan.recordings
    newest = newest_run(recordings, card.input_frames, scan.cadence_s, where)
    layout = usual_layout(reader, recordings, [newest], WHOLE_FRAMES, card.encoding, pool)
    card.check_kind(
        where, unit=scan.product.unit, cadence_s=scan.cadence_s, pixel=layout.pixel, pixel_unit=layout.pixel_unit
    )
    needed = {ref.recording: recordings[ref.recording] for ref in newest.frames}
    try:
        [read] = pool.each(partial(read_sequence, reader, needed, layout=layout), [newest])
        if isinstance(read, RadarFileError):
            raise read
    except AnotherGridError as error:
        raise UserError(
            f"{where}: the newest {card.input_frames} frames are not on one grid ({error}); give frames of one grid"
        ) from None
    codes_THW, grid = read
    return Observed(codes_THW, newest.times, grid)


def newest_run(recordings: list[Recording], frames: int, cadence_s: int, where: str) -> Run:
    """The last `frames` frames, without a gap: of the event that ends last, or of all composites.

    Raises UserError where the run up to the newest frame is shorter: older frames would make a forecast of the past.
    """
    if not recordings:
        raise UserError(f"{where} holds no frames that can be used; give other files")
    last = max(recordings, key=lambda recording: utc(recording.times[-1]))
    places: dict[datetime, FrameRef] = {}
    for number, recording in enumerate(recordings):
        for step, time in enumerate(recording.times if recording.event == last.event else ()):
            places.setdefault(utc(time), FrameRef(number, step))
    run: list[datetime] = []
    for time in sorted(places, reverse=True)[:frames]:
        if run and not follows(time, run[0], cadence_s):
            break
        run.insert(0, time)
    if len(run) < frames:
        raise UserError(
            f"the newest run without a gap in {where}, up to {iso(run[-1])}, has {len(run)} of the {frames} frames that the "
            f"model takes; give more frames, or the files of an older run alone"
        )
    return Run("newest", tuple(places[time] for time in run), tuple(run), last.event)


@torch.no_grad()
def predict(model: NowcastModel, card: ModelCard, past: Observed, device: torch.device) -> NDArray[np.float32]:
    """(L, H, W) in the archive's unit; NaN where the radar did not see in the last frame."""
    table = torch.from_numpy(card.codes.model_table())
    past_THW = table[torch.from_numpy(past.codes_THW.astype(np.int64))]
    forecast_LHW = forecast_domain(lambda tiles: model(tiles.to(device)), past_THW, card.shape, model.stride)
    values_LHW = card.codes.from_model(forecast_LHW.clamp(0.0, 1.0).numpy(), card.unit)
    return np.where(past.codes_THW[-1] < card.codes.missing, values_LHW, np.float32(np.nan))


if __name__ == "__main__":
    sys.exit(main())
