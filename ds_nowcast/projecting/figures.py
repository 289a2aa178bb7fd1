"""A JSON file of figures that were not measured here, each with where it is from, to project a machine that is elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ds_nowcast.config.json_file import read_json
from ds_nowcast.config.strict import Strict, parse
from ds_nowcast.projecting.collectives import Link
from ds_nowcast.projecting.outlook import Task
from ds_nowcast.projecting.projection import Band, Batch, Figures, step
from ds_nowcast.projecting.traffic import Traffic

NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(gt=0)]
Case = Literal["best", "value", "worst"]


class Number(Strict):
    """One figure; best and worst are ends of what it may be, and the figure itself where they are left out."""

    value: NotNegative
    best: NotNegative | None = None
    worst: NotNegative | None = None
    source: Annotated[str, Field(min_length=1, description="where it is from, or that it is assumed")]

    def at(self, case: Case) -> float:
        """The figure of a case."""
        end: float | None = getattr(self, case)
        return self.value if end is None else end


class FiguresFile(Strict):
    """The whole file. Seconds are of one rank, GB are of 10^9 bytes."""

    format_version: Literal[1]
    about: str
    parameters: Number
    gradient_bytes: Number = Field(description="of one gradient as it is sent")
    zero_stage: Literal[0, 1, 2, 3]
    micro_batch: Count
    accumulation: Count
    total: Count = Field(description="samples of a step in strong scaling")
    compute_s: Number = Field(description="forward and backward pass of one sample")
    optimizer_s: Number
    other_s: Number
    exposed: Number = Field(description="share of the collectives' time that computation does not hide")
    link_gb_s: Number
    link_latency_us: Number
    trees: dict[Case, bool] = Field(description="whether all-reduce may go along trees")
    ranks_per_host: Count
    stream_per_s: Number = Field(description="samples that a host's stream delivers")
    stored_bytes: Number = Field(description="that a sample is read from the disk")
    file_system_gb_s: Number
    file_gb_s: Number
    windows: Count = Field(description="of an epoch")
    windows_per_shard: Count
    hours_of_one: Number = Field(description="training time of one rank, which says how many samples are to be seen")

    @model_validator(mode="after")
    def _rates_are_above_zero(self) -> Self:
        for name in (
            "compute_s",
            "link_gb_s",
            "stream_per_s",
            "file_system_gb_s",
            "file_gb_s",
            "hours_of_one",
            "parameters",
        ):
            if min(getattr(self, name).at(case) for case in ("best", "value", "worst")) <= 0.0:
                raise ValueError(f"{name} has a value that is not above 0")
        if set(self.trees) != {"best", "value", "worst"}:
            raise ValueError("trees says true or false of each of best, value and worst")
        return self

    def figures(self, case: Case) -> Figures:
        """As a projection takes them."""
        return Figures(
            compute_s=self.compute_s.at(case),
            optimizer_s=self.optimizer_s.at(case),
            other_s=self.other_s.at(case),
            traffic=Traffic(round(self.parameters.value), round(self.gradient_bytes.value), self.zero_stage),
            link=Link(self.link_latency_us.at(case) * 1e-6, self.link_gb_s.at(case) * 1e9, self.trees[case]),
            ranks_per_host=self.ranks_per_host,
            exposed=self.exposed.at(case),
            stream_per_s=self.stream_per_s.at(case),
            stored_bytes=self.stored_bytes.at(case),
            file_system_bytes_per_s=self.file_system_gb_s.at(case) * 1e9,
            file_bytes_per_s=self.file_gb_s.at(case) * 1e9,
        )

    def band(self) -> Band:
        """All three cases."""
        return Band(self.figures("best"), self.figures("value"), self.figures("worst"))

    def sources(self) -> list[str]:
        """A line for each figure: what it is, what it may be, where it is from."""
        return [
            _said(name, getattr(self, name))
            for name in type(self).model_fields
            if isinstance(getattr(self, name), Number)
        ]

    def task(self) -> Task:
        """What is trained: as many samples as one rank sees in the hours given."""
        base = Batch(self.micro_batch * self.accumulation, self.accumulation)
        samples = self.hours_of_one.value * 3600.0 * step(self.figures("value"), 1, base).samples_per_s
        return Task(samples, base, self.total, self.windows, float(self.windows_per_shard))


def _said(name: str, number: Number) -> str:
    ends = [end for end in (number.best, number.worst) if end is not None]
    may_be = f" ({' to '.join(f'{end:g}' for end in ends)})" if ends else ""
    return f"{name} {number.value:g}{may_be}: {number.source}"


def read_figures(path: Path) -> FiguresFile:
    """Raises UserError."""
    advice = "give a file as docs/scaling.md shows"
    return parse(FiguresFile, read_json(path, "figures", give=advice, mend=advice), where=str(path))
