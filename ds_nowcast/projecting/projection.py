"""From a step at few ranks to one at many, by the formulas of docs/scaling.md."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ds_nowcast.projecting.collectives import Link
from ds_nowcast.projecting.traffic import Traffic

Mode = Literal["weak", "strong"]
Limit = Literal["compute", "communication", "optimizer", "other", "stream", "file system", "batch"]


@dataclass(frozen=True)
class Figures:
    """What a projection is made from. Seconds are of one rank."""

    compute_s: float  # forward and backward pass of one sample, the only rank on its host
    optimizer_s: float  # update of a step with all of the optimizer's state on one rank
    other_s: float  # of a step: what is neither of the others
    traffic: Traffic
    link: Link
    ranks_per_host: int
    crowding: float = 0.0  # share by which computing slows for each further rank on the host
    crowded_to: float = math.inf  # ranks on a host up to which that is taken to hold; more slow no further
    exposed: float = 1.0  # share of the collectives' time that nothing hides
    waiting_s: float = 0.0  # of a step in which a rank waits for slower ones, where there are others
    stream_per_s: float = math.inf  # samples that one host's stream delivers to all of its ranks
    stored_bytes: float = 0.0  # that a sample is read from the disk
    file_system_bytes_per_s: float = math.inf  # that the shards' disks deliver to all hosts together
    file_bytes_per_s: float = math.inf  # that they deliver of one file


class Batch(NamedTuple):
    """What a step works on."""

    per_rank: float  # samples
    accumulation: int  # micro-batches of a rank


@dataclass(frozen=True)
class Step:
    """An optimizer step at so many ranks; seconds."""

    ranks: int
    samples: float
    compute: float
    communication: float  # that nothing hides
    optimizer: float
    other: float
    stream: float  # that the hosts' streams need for its samples
    file_system: float  # that the shards' disks need

    @property
    def worked(self) -> float:
        """Without waiting for data."""
        return self.compute + self.communication + self.optimizer + self.other

    @property
    def seconds(self) -> float:
        """In all: data come beside the work, ahead of it, so the slower of the two sets the pace."""
        return max(self.worked, self.stream, self.file_system)

    @property
    def data_wait(self) -> float:
        """What a rank waits for data."""
        return self.seconds - self.worked

    @property
    def samples_per_s(self) -> float:
        """Over all ranks."""
        return self.samples / self.seconds

    @property
    def limit(self) -> Limit:
        """What to make faster first: what data come through if a step waits for them, else what it does longest."""
        if self.data_wait > 0.0:
            return "stream" if self.stream >= self.file_system else "file system"
        parts: dict[Limit, float] = {
            "compute": self.compute,
            "communication": self.communication,
            "optimizer": self.optimizer,
            "other": self.other,
        }
        return max(parts, key=lambda name: parts[name])


def step(figures: Figures, ranks: int, batch: Batch) -> Step:
    """The step of `ranks` ranks that work on `batch` each."""
    hosts, samples = math.ceil(ranks / figures.ranks_per_host), batch.per_rank * ranks
    crowd = min(ranks, figures.ranks_per_host, figures.crowded_to) - 1
    compute = figures.compute_s * batch.per_rank * (1.0 + figures.crowding * crowd)
    sending = figures.traffic.seconds(batch.accumulation, ranks, figures.link) if ranks > 1 else 0.0
    waiting = figures.waiting_s if ranks > 1 else 0.0
    return Step(
        ranks=ranks,
        samples=samples,
        compute=compute,
        # no more can be hidden than there is computation to hide it behind
        communication=max(figures.exposed * sending, sending - compute) + waiting,
        optimizer=figures.optimizer_s / (ranks if figures.traffic.stage else 1),
        other=figures.other_s,
        stream=samples / (hosts * figures.stream_per_s),
        file_system=samples * figures.stored_bytes / figures.file_system_bytes_per_s,
    )


def batch_at(mode: Mode, ranks: int, base: Batch, total: int) -> Batch | None:
    """A rank's part of a step. base: of weak scaling, at any number of ranks; total: samples of a step of strong scaling.

    None where ranks outnumber the samples. Micro-batches stay as large as `base` has them, or a rank's whole part is one.
    """
    if mode == "weak":
        return base
    if ranks > total:
        return None
    per_rank = total / ranks
    return Batch(per_rank, max(1, math.ceil(per_rank / (base.per_rank / base.accumulation))))


class Band(NamedTuple):
    """The figures, and the same with what is not known at its best and at its worst."""

    best: Figures
    likely: Figures
    worst: Figures


def band_of(likely: Figures, error: float) -> Band:
    """Where all communication hides behind computation or none does and there are no trees, and all work is off by `error`.

    error: relative, such as that of a prediction of points that were held back.
    """
    faster, slower = 1.0 - min(error, 0.9), 1.0 + error
    worse = dataclasses.replace(likely.link, trees=False)
    return Band(
        _scaled(dataclasses.replace(likely, exposed=0.0), faster),
        likely,
        _scaled(dataclasses.replace(likely, exposed=1.0, link=worse), slower),
    )


def _scaled(figures: Figures, factor: float) -> Figures:
    link = figures.link
    return dataclasses.replace(
        figures,
        compute_s=figures.compute_s * factor,
        optimizer_s=figures.optimizer_s * factor,
        other_s=figures.other_s * factor,
        waiting_s=figures.waiting_s * factor,
        link=dataclasses.replace(link, latency_s=link.latency_s * factor, bytes_per_s=link.bytes_per_s / factor),
        stream_per_s=figures.stream_per_s / factor,
    )
