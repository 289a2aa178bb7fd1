"""What was left out and why, counted by reason with a few examples: there may be millions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from data_prep.errors import printable
from data_prep.readers import LeftOut

_EXAMPLES, _UNREADABLE_EXAMPLES = 3, 1000  # files that are damaged are all named
_MOST_TEXT = 1000  # characters of one example


class LeftOuts(BaseModel):
    """counts: by reason. examples: the first few of each, as (what, reason, detail)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    counts: dict[str, int] = Field(default_factory=dict)
    examples: list[tuple[str, str, str]] = Field(default_factory=list)
    _held: Counter[str] = PrivateAttr(default_factory=Counter)  # examples of each reason

    @classmethod
    def of(cls, items: Iterable[LeftOut]) -> LeftOuts:
        """All of some."""
        found = cls()
        for item in items:
            found.add(item)
        return found

    def model_post_init(self, context: object, /) -> None:
        """Counts the examples that it was given."""
        self._held = Counter(reason for _, reason, _ in self.examples)

    def add(self, item: LeftOut) -> None:
        """Takes in one."""
        self.counts[item.reason] = self.counts.get(item.reason, 0) + 1
        self._remember(item)

    def merge(self, other: LeftOuts) -> None:
        """Takes in another's."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
        for example in other.examples:
            self._remember(LeftOut(*example))

    def of_reason(self, reason: str) -> list[LeftOut]:
        """The examples of one reason."""
        return [LeftOut(*example) for example in self.examples if example[1] == reason]

    def by_count(self) -> dict[str, int]:
        """The counts, the commonest first."""
        return dict(sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def _remember(self, item: LeftOut) -> None:
        most = _UNREADABLE_EXAMPLES if item.reason == "unreadable" else _EXAMPLES
        if self._held[item.reason] < most:
            self._held[item.reason] += 1
            self.examples.append((printable(item.what, _MOST_TEXT), item.reason, printable(item.detail, _MOST_TEXT)))
