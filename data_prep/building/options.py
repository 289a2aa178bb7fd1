"""What the user of `build` asks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from data_prep.building.layout import WHOLE_FRAMES, Cutting
from data_prep.building.selection import Selection
from data_prep.shards.codecs import DEFAULT

BLOCKS_GUARD_HOURS = 6.0
IMPORTANCE_FLOOR = 2e-4


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asks for, as far as it decides what is written. None: the archive's own default."""

    format: str
    sources: tuple[str, ...]
    product: str | None = None
    split_dates: str | None = None
    split_blocks: str | None = None
    split: str | None = None
    guard_hours: float | None = None
    frames: int | None = None
    stride: int | None = None
    cadence_s: int | None = None
    cutting: Cutting = WHOLE_FRAMES
    min_wet: float = 0.0
    max_missing: float | None = None
    importance: float | None = None
    importance_floor: float = IMPORTANCE_FLOOR
    encoding: str | None = None
    samples_per_shard: int = 32
    seed: int = 0
    codec: str = DEFAULT

    @property
    def archive(self) -> str:
        """What messages call the archive."""
        return self.sources[0] if len(self.sources) == 1 else f"{self.sources[0]} and {len(self.sources) - 1} more"

    @property
    def selection(self) -> Selection:
        """Which samples are kept."""
        max_missing = 1.0 if self.max_missing is None else self.max_missing
        return Selection(max_missing, self.min_wet, self.importance, self.importance_floor, self.seed)

    @property
    def guard(self) -> timedelta:
        """Between frames of two splits."""
        usual = BLOCKS_GUARD_HOURS if self.split_blocks else 0.0
        return timedelta(hours=usual if self.guard_hours is None else self.guard_hours)
