"""A forecast from an archive's newest frames, once or as they arrive: CF netCDF, a GeoTIFF, pictures, animations."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import torch

from data_prep.console import ends_politely, positive_number
from data_prep.errors import UserError
from data_prep.readers import READERS, reader_named
from data_prep.readers.file_reader import FileReader
from data_prep.times import iso, utc
from ds_nowcast.forecasting.members import Member, forecast_of, open_members
from ds_nowcast.forecasting.newest import Observed, newest_frames
from ds_nowcast.forecasting.outputs import Outputs
from ds_nowcast.forecasting.stopping import StoppedError, Stopping
from ds_nowcast.forecasting.tiling import MODES, Mode
from ds_nowcast.forecasting.turned import TURNED
from ds_nowcast.forecasting.watch import Watch
from ds_nowcast.launch.ending import parser
from ds_nowcast.ranks import device_of

EXAMPLE = (
    "python -m ds_nowcast.forecast --run runs/unet --format knmi --source 'latest/*.h5' \\\n"
    "      --out forecast.nc --picture forecast.png --gif forecast.gif"
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = parser("python -m ds_nowcast.forecast", "Forecast from an archive's newest frames.", EXAMPLE)
    _add_models(options)
    _add_archive(options)
    _add_files(options)
    args = options.parse_args(argv)
    return ends_politely(lambda: forecast(args))


def _add_models(options: ArgumentParser) -> None:
    options.add_argument(
        "--run",
        type=Path,
        metavar="DIR",
        action="append",
        default=[],
        help="run folder; its best evaluated step forecasts. Several, or several --model: the mean of all, and their spread",
    )
    options.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="a .safetensors file with its .json beside it",
    )
    options.add_argument("--turned", action="store_true", help=f"each model's forecast is {TURNED}")
    options.add_argument(
        "--mode",
        choices=MODES,
        default="tiles",
        help="how a domain larger than the model's images is forecast: in tiles of that size, blended (default), or whole, "
        "by models that see a bounded neighbourhood",
    )


def _add_archive(options: ArgumentParser) -> None:
    options.add_argument("--format", required=True, metavar="NAME", help=f"of the archive: {', '.join(READERS)}")
    options.add_argument("--source", required=True, nargs="+", metavar="PATH", help="folders, files or globs")
    options.add_argument("--product", metavar="NAME", help="which, where the files hold several")
    options.add_argument(
        "--watch", action="store_true", help="forecast whenever newer frames have arrived, until stopped"
    )
    options.add_argument(
        "--every", type=positive_number, default=10.0, metavar="SECONDS", help="between looks of --watch (default: 10)"
    )


def _add_files(options: ArgumentParser) -> None:
    options.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="FILE.nc",
        help="netCDF file to write. This and the names below may hold codes of strftime for the last frame's time, UTC: "
        "rain_%%Y%%m%%dT%%H%%M.nc",
    )
    options.add_argument("--geotiff", type=Path, metavar="FILE.tif", help="GeoTIFF to write, a band per lead time")
    options.add_argument("--picture", type=Path, metavar="FILE.png", help="picture to write")
    options.add_argument("--gif", type=Path, metavar="FILE.gif", help="animation to write")
    options.add_argument("--mp4", type=Path, metavar="FILE.mp4", help="the same as a film")


def forecast(args: Namespace) -> int:
    """Writes the files asked for. Returns 0; raises UserError, DataError where a disk does not take them."""
    if not (args.run or args.model):
        raise UserError("no model is given; give --run DIR or --model FILE, several times for an ensemble")
    outputs = Outputs(args.out, args.geotiff, args.picture, args.gif, args.mp4)
    outputs.check()
    device = device_of(0)
    reader = reader_named(args.format)
    if args.watch and not isinstance(reader, FileReader):
        raise UserError(f"an archive of format {args.format} does not grow by files of frames; leave --watch out")
    members = open_members(args.run, args.model, args.mode, device, turned=args.turned)
    making = _Making(members, args.mode, device, outputs, args.quiet)
    if isinstance(reader, FileReader) and args.watch:
        _watch(Watch(reader, args.source, members[0].card, args.product), args.every, making)
    else:
        began_s = time.monotonic()
        making.make(newest_frames(args.format, args.source, members[0].card, args.product), began_s)
    return 0


class _Making(NamedTuple):
    """What is done with the newest frames."""

    members: Sequence[Member]
    mode: Mode
    device: torch.device
    outputs: Outputs
    quiet: bool

    def make(
        self, past: Observed, began_s: float, whole: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Forecasts and writes. began_s: when reading began. whole: around what is not to be ended half-way."""
        read_s = time.monotonic()
        made = forecast_of(self.members, past.codes_THW, self.mode, self.device)
        made_s = time.monotonic()
        files = self.outputs.at(past.times[-1])
        with whole():
            files.write(made, past, self.members)
            if not self.quiet:
                print(_says(past, self.members, files, (began_s, read_s, made_s, time.monotonic())), flush=True)


def _watch(watch: Watch, every_s: float, making: _Making) -> None:
    making.outputs.clear()
    with Stopping() as stopping:
        try:
            watch.run(every_s, lambda past, began_s: making.make(past, began_s, stopping.held))
        except StoppedError as stopped:
            if not making.quiet:
                print(f"stopped by {stopped.signal}", flush=True)


def _says(
    past: Observed, members: Sequence[Member], files: Outputs, moments_s: tuple[float, float, float, float]
) -> str:
    """What was made, and how long it took. moments_s: reading began and ended, the model ended, all was written."""
    card = members[0].card
    first, last = past.times[-1], past.times[-1] + timedelta(seconds=card.cadence_s * card.output_frames)
    began_s, read_s, made_s, written_s = moments_s
    parts = f"reading {read_s - began_s:.2f}, model {made_s - read_s:.2f}, writing {written_s - made_s:.2f}"
    age = _in_words((datetime.now(UTC) - utc(first)).total_seconds())
    return (
        f"forecast from {iso(first)} to {iso(last)}: {', '.join(map(str, files.named))}\n"
        f"  {written_s - began_s:.2f} s from the newest frame to the file ({parts}); the frame is now {age} old"
    )


def _in_words(seconds: float) -> str:
    for unit, length_s in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if abs(seconds) >= 2 * length_s:
            return f"{seconds / length_s:.1f} {unit}"
    return f"{seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
