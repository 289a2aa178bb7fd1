"""The files of a forecast: CF netCDF, GeoTIFF, a picture, animations; each appears whole or not at all."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.errors import UserError, without_secrets
from data_prep.files import check_writable, write_atomically, writing
from data_prep.pictures import Strip, endless_gif, film_pages, forecast_picture, mp4_film
from data_prep.times import utc
from ds_nowcast.forecasting.geotiff import write_geotiff
from ds_nowcast.forecasting.members import Forecast, Member
from ds_nowcast.forecasting.netcdf import write_forecast
from ds_nowcast.forecasting.newest import Observed

_LIKE = datetime(2026, 1, 1, tzinfo=UTC)  # a time as any


class Outputs(NamedTuple):
    """Paths to write. Their names may hold codes of strftime, for the time of the last observation, UTC."""

    netcdf: Path
    geotiff: Path | None = None
    picture: Path | None = None
    gif: Path | None = None
    mp4: Path | None = None

    @property
    def named(self) -> Iterator[Path]:
        """Those that are asked for."""
        return (path for path in self if path is not None)

    def at(self, reference_time: datetime) -> Outputs:
        """With names for a time."""
        return Outputs._make(path and _named(path, reference_time) for path in self)

    def check(self) -> None:
        """Raises UserError where one cannot be written, before anything is read for it."""
        endings = ((".nc",), (".tif", ".tiff"), (".png",), (".gif",), (".mp4",))
        for path, own in zip(self, endings, strict=True):
            if path is not None:
                if "%" in str(path.parent) and not path.parent.is_dir():
                    raise UserError(f"{path}: only a file's name may hold codes of a time; give a folder that is there")
                check_writable(_named(path, _LIKE), *own)

    def clear(self) -> None:
        """Takes away what a process that was killed while it wrote has left."""
        for path in self.named:
            for left in path.parent.glob(f".{_any_time(path)}.partial"):
                left.unlink(missing_ok=True)

    def write(self, forecast: Forecast, past: Observed, members: Sequence[Member]) -> None:
        """Writes them, the netCDF file first. Raises UserError, DataError where a disk does not take one."""
        with writing(self.netcdf):
            self._write(forecast, past, members)

    def _write(self, forecast: Forecast, past: Observed, members: Sequence[Member]) -> None:
        card = members[0].card
        lead_s = [card.cadence_s * lead for lead in range(1, card.output_frames + 1)]
        about: dict[str, Any] = {
            "unit": card.unit,
            "grid": past.grid,
            "reference_time": past.times[-1],
            "lead_s": lead_s,
            "source": source_of(members),
            "history": without_secrets(shlex.join(["python -m ds_nowcast.forecast", *sys.argv[1:]])),
        }
        write_forecast(self.netcdf, forecast.values_LHW, members=len(members), spread_LHW=forecast.spread_LHW, **about)
        if self.geotiff:
            write_geotiff(self.geotiff, forecast.values_LHW, **about)
        if not (self.picture or self.gif or self.mp4):
            return
        strips = (
            Strip("Observed", card.codes.decode(past.codes_THW, card.unit), past.times),
            Strip("Forecast", forecast.values_LHW, [past.times[-1] + timedelta(seconds=lead) for lead in lead_s]),
        )
        shown: dict[str, Any] = {
            "unit": card.unit,
            "grid": past.grid,
            "title": f"Nowcast of the next {lead_s[-1] / 60:g} minutes",
        }
        if self.picture:
            forecast_picture(self.picture, *strips, **shown)
        pages = film_pages(*strips, **shown) if self.gif or self.mp4 else []
        if self.gif:
            write_atomically(self.gif, endless_gif(pages))
        if self.mp4:
            write_atomically(self.mp4, mp4_film(pages))


def source_of(members: Sequence[Member]) -> str:
    """What made the forecast."""
    each = [f"{card.name}, {card.parameters} parameters, step {card.step}" for _, card, _ in members]
    return f"DS-Nowcast {each[0]}" if len(each) == 1 else f"DS-Nowcast, mean of {len(each)}: {'; '.join(each)}"


def _named(path: Path, time: datetime) -> Path:
    return path.with_name(utc(time).strftime(path.name)) if "%" in path.name else path


def _any_time(path: Path) -> str:
    """The glob that fits a name at whatever time."""
    parts = re.split(r"%(.)", path.name)  # what stands between codes, and their letters
    parts[1::2] = ["%" if letter == "%" else "*" for letter in parts[1::2]]
    parts[::2] = [re.sub(r"([*?[])", r"[\1]", text) for text in parts[::2]]
    return re.sub(r"\*+", "*", "".join(parts))
