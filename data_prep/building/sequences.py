"""Complete runs of frames at an archive's cadence, found by time stamps: never by file order or file names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from data_prep.errors import UserError, counted
from data_prep.readers import LeftOut, Recording
from data_prep.times import iso, utc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_KEY = 80  # a USTAR name holds 100 characters, the members' endings included


class FrameRef(NamedTuple):
    """Where a frame is to be read: which recording of the list, which of its times."""

    recording: int
    step: int


def in_order(recordings: Iterable[Recording]) -> list[Recording]:
    """By their time, and the same however they were listed."""
    return sorted(recordings, key=lambda recording: (utc(recording.times[0]), recording.label, recording.item))


def complete(recordings: Iterable[Recording], advice: str) -> tuple[list[Recording], list[LeftOut]]:
    """Without those that the archive's catalog calls incomplete, and these. advice: what a user can do about them."""
    usable, left_out = list[Recording](), list[LeftOut]()
    for recording in recordings:
        if recording.incomplete:
            left_out.append(LeftOut(recording.event or recording.name, recording.incomplete, advice))
        else:
            usable.append(recording)
    return usable, left_out


@dataclass(frozen=True)
class Sequence:
    """Frames that follow each other without a gap, one sample of a shard.

    key: unique in the shards folder, no dots. times: of its T frames, ascending. frames: what each is made of, in order of
    time; T of them, or a multiple where each is a mean over several. event: the archive's name of the event it is cut from;
    None where it is cut from a run of composites. event_time: decides an event's split.
    """

    key: str
    frames: tuple[FrameRef, ...]
    times: tuple[datetime, ...]
    event: str | None = None
    event_time: datetime | None = None

    @property
    def parts(self) -> int:
        """How many of the archive's frames each of its frames is the mean of."""
        return len(self.frames) // len(self.times)


class Gap(NamedTuple):
    """Frames that an archive does not have, between two that it has."""

    after: datetime
    before: datetime
    frames: int  # so many are missing
    event: str | None = None


class Found(NamedTuple):
    """What `find_sequences` returns."""

    sequences: list[Sequence]  # in order of time
    frames: int  # frames of each
    left_out: list[LeftOut]
    gaps: list[Gap]


def follows(earlier: datetime, later: datetime, cadence_s: int) -> bool:
    """Whether `later` is the next frame after `earlier`: one cadence on, give or take half of it."""
    return abs((later - earlier).total_seconds() - cadence_s) <= cadence_s / 2


def find_sequences(
    recordings: list[Recording], frames: int | None, stride: int | None, cadence_s: int, archive: str, parts: int = 1
) -> Found:
    """Sequences of `frames` frames, a new one every `stride` frames of a run.

    Events are cut each by itself, all other recordings are put together by their times. frames: None takes the
    commonest length of the events. stride: None means `frames`, so that sequences do not overlap. archive: what
    messages call it. parts: frames at `cadence_s` of which each frame of a sequence is the mean. Raises UserError where
    `frames` is missing or longer than everything there is.
    """
    runs, gaps, left_out = find_runs(recordings, cadence_s)
    if parts > 1:
        runs, cadence_s = [in_means(run, parts, cadence_s) for run in runs], cadence_s * parts
    frames = frames or _usual_length([run for run in runs if run.event], archive)
    _check_length(runs, frames, archive)
    sequences = [sequence for run in runs for sequence in _cut(run, frames, stride or frames, cadence_s, left_out)]
    sequences.sort(key=lambda sequence: (sequence.times[0], sequence.key))
    return Found(_with_unique_keys(sequences), frames, left_out, gaps)


def find_runs(recordings: list[Recording], cadence_s: int) -> tuple[list[Sequence], list[Gap], list[LeftOut]]:
    """Runs without a gap, whole: those of events, then those of all other recordings; the gaps between; what is repeated."""
    left_out: list[LeftOut] = []
    runs = [*_event_runs(recordings, cadence_s, left_out), *_composite_runs(recordings, cadence_s, left_out)]
    gaps = [_gap(a, b, cadence_s) for a, b in pairwise(runs) if a.event == b.event]
    return runs, gaps, left_out


def _gap(before: Sequence, after: Sequence, cadence_s: int) -> Gap:
    missing = round((after.times[0] - before.times[-1]).total_seconds() / cadence_s) - 1
    return Gap(before.times[-1], after.times[0], missing, after.event)


def in_means(run: Sequence, parts: int, cadence_s: int) -> Sequence:
    """A run of frames at `cadence_s`, taken `parts` at a time: the mean's time is that of its last.

    Composites are taken so that the times are whole multiples of the new cadence, an event's from its first frame on; what
    remains at both ends is dropped.
    """
    assert len(run.frames) == len(run.times)
    step_s = timedelta(seconds=cadence_s)
    counted = [i if run.event else round((time - _EPOCH) / step_s) - 1 for i, time in enumerate(run.times)]
    first = next((i for i, number in enumerate(counted) if number % parts == 0), len(counted))
    count = (len(counted) - first) // parts
    taken = slice(first, first + count * parts)
    return replace(run, frames=run.frames[taken], times=run.times[taken][parts - 1 :: parts])


def _split_at_gaps(whole: Sequence, cadence_s: int) -> list[Sequence]:
    times = whole.times
    starts = [i for i in range(len(times)) if i == 0 or not follows(times[i - 1], times[i], cadence_s)]
    ends = [*starts[1:], len(times)][: len(starts)]
    return [
        replace(whole, frames=whole.frames[start:end], times=times[start:end])
        for start, end in zip(starts, ends, strict=True)
    ]


def _event_runs(recordings: list[Recording], cadence_s: int, left_out: list[LeftOut]) -> list[Sequence]:
    """The events as runs that are keyed by event; an event with gaps gives several runs."""
    runs: list[Sequence] = []
    seen: set[str] = set()
    for number, recording in enumerate(recordings):
        if recording.event is None:
            continue
        if recording.event in seen:
            left_out.append(LeftOut(recording.event, "repeated event", recording.path.name))
            continue
        seen.add(recording.event)
        refs = tuple(FrameRef(number, step) for step in range(len(recording.times)))
        times = tuple(utc(time) for time in recording.times)
        event_time = utc(recording.event_time) if recording.event_time else times[0]
        runs += _split_at_gaps(Sequence(recording.event, refs, times, recording.event, event_time), cadence_s)
    return runs


def _composite_runs(recordings: list[Recording], cadence_s: int, left_out: list[LeftOut]) -> list[Sequence]:
    """Runs of all recordings that are not events."""
    frames: dict[datetime, FrameRef] = {}
    for number, recording in enumerate(recordings):
        for step, time in enumerate(recording.times if recording.event is None else ()):
            if utc(time) in frames:
                left_out.append(LeftOut(iso(time), "repeated time", recording.path.name))
            frames.setdefault(utc(time), FrameRef(number, step))
    times = tuple(sorted(frames))
    whole = Sequence("", tuple(frames[time] for time in times), times)
    return _split_at_gaps(whole, cadence_s)


def _usual_length(events: list[Sequence], archive: str) -> int:
    if not events:
        raise UserError(f"{archive} has no events of a length of their own; give --frames N, such as 25")
    lengths = Counter(len(event.times) for event in events)
    return max(lengths, key=lambda length: (lengths[length], length))


def _check_length(runs: list[Sequence], frames: int, archive: str) -> None:
    longest = max(runs, key=lambda run: len(run.times), default=None)
    if longest is None or len(longest.times) >= frames:
        return
    most = len(longest.times)
    what = f"the {most} frames of an event" if longest.event else f"the longest run without a gap, {most} frames,"
    raise UserError(f"frames={frames} is longer than {what} in {archive}; give {most} or fewer")


def _cut(run: Sequence, frames: int, stride: int, cadence_s: int, left_out: list[LeftOut]) -> Iterable[Sequence]:
    """Pieces of `frames` frames of one run; what remains at its end is left out."""
    covered, parts = 0, run.parts if run.times else 1
    for start in range(0, len(run.times) - frames + 1, stride):
        covered = start + frames
        key = _piece_key(run, start, frames, cadence_s)
        refs = run.frames[start * parts : covered * parts]
        yield replace(run, key=key, frames=refs, times=run.times[start:covered])
    rest = len(run.times) - covered
    if rest > 0 and (covered == 0 or stride <= frames):
        first = iso(run.times[covered])
        name = f"{run.event}, {first}" if run.event else first
        left_out.append(LeftOut(name, f"run shorter than {frames} frames", counted(rest, "frame")))


def _piece_key(run: Sequence, start: int, frames: int, cadence_s: int) -> str:
    if run.event is None:
        return run.times[start].strftime("%Y%m%dT%H%M" if cadence_s >= 120 else "%Y%m%dT%H%M%S")
    step = run.frames[start * run.parts].step
    return run.event if step == 0 and frames == len(run.times) else f"{run.event}_{step:03d}"


def _with_unique_keys(sequences: list[Sequence]) -> list[Sequence]:
    """The same with keys of letters, digits, _ and - only, a number added where two would be equal."""
    taken: set[str] = set()
    named = []
    for sequence in sequences:
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", sequence.key)[:_LONGEST_KEY]
        key, number = plain, 1
        while key in taken:
            number += 1
            key = f"{plain}-{number}"
        taken.add(key)
        named.append(replace(sequence, key=key))
    return named
