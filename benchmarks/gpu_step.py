"""Training on one GPU: samples a second by micro-batch, ZeRO stage and way of computing, as a share of what the card does.

Without a GPU it measures the CPU: to see that it works, with --quick.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks.gpu_case import STEPS, Timed, Way, config_of, matrix_rate, timed
from benchmarks.machine import accelerator, cores, package_version
from benchmarks.page import leave
from benchmarks.report import PACKAGES
from data_prep.console import ends_politely, positive, wide_console
from data_prep.encoding import encoding_named
from ds_nowcast import ranks as process_group
from ds_nowcast.models import outline_of
from ds_nowcast.planning.activations import Activations
from ds_nowcast.planning.peak import peak
from ds_nowcast.planning.training import Device, training_of
from ds_nowcast.ranks import Ranks

EPOCH = 35_718  # windows of SEVIR's training split
ENCODING = "vil255"
TO_REACH = 0.35  # of the card's rate
SAME = 0.02  # losses of the first step in bf16 differ by less, relatively
_QUICK = ["nowcast.model.width=8", "nowcast.model.levels=2"]


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    model: str
    size: int
    micros: list[int]
    settings: list[str]
    seconds: float  # no way begins after so many
    steps: int
    compiles: bool


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = argparse.ArgumentParser("python -m benchmarks.gpu_step")
    options.add_argument("--micro", default="1,2,4,8,16", metavar="N,N", help="micro-batches (default 1,2,4,8,16)")
    options.add_argument("--size", type=positive, metavar="PX", help="pixels of the images (default 384)")
    options.add_argument("--model", default="unet", help="which CNN (default unet, at its committed size)")
    options.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="override settings")
    options.add_argument("--seconds", type=positive, default=420, help="no way begins after so many (default 420)")
    options.add_argument(
        "--quick", action="store_true", help="a tiny model, few steps, nothing compiled: that it works"
    )
    options.add_argument("--out", type=Path, metavar="DIR", help="for gpu_step.json (default: a new one, printed)")
    args = options.parse_args(argv)
    micros = [int(word) for word in args.micro.split(",")]
    size, steps = (args.size or 32, 2) if args.quick else (args.size or 384, STEPS)
    settings = [*(_QUICK if args.quick and args.model == "unet" else []), *args.set]
    setting = Setting(args.model, size, micros, settings, args.seconds, steps, not args.quick)
    return ends_politely(lambda: _run(setting, args.out or Path(tempfile.mkdtemp(prefix="nowcast-gpu-"))))


def ways(setting: Setting) -> Iterator[Way]:
    """What is measured, the most important first; what is compiled last, for that takes a minute each."""
    micros = setting.micros
    middle = micros[len(micros) * 3 // 4] if len(micros) > 1 else micros[0]
    for micro in micros:
        yield Way(2, micro)
        yield Way(2, micro, channels_last=True, fused=True)
    yield Way(2, middle, channels_last=True)
    yield Way(2, middle, fused=True)
    yield from (Way(stage, middle, channels_last=True, fused=True) for stage in (0, 1, 3))
    yield from (Way(None, middle, channels_last=both, fused=both) for both in (False, True))
    if setting.compiles:
        yield from (Way(stage, middle, True, True, True) for stage in (2, None))
        yield Way(2, middle, compile=True)
        yield from (Way(2, micro, True, True, True) for micro in reversed(micros) if micro != middle)


def _run(setting: Setting, out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    began, console = time.monotonic(), wide_console()
    ranks = process_group.join(always=True)
    try:
        torch.set_num_threads(ranks.threads)
        limit = matrix_rate(ranks.device, 8192 if ranks.device.type == "cuda" else 512)
        flops = _activations(setting, channels_last=False).flops[1]
        found: list[Timed] = []
        for way in ways(setting):
            found.append(_timed(way, setting, ranks, began))
            console.print(f"{time.monotonic() - began:4.0f} s  {_words(found[-1])}")  # should the rest be cut off
    finally:
        process_group.leave()
    _check_equal(found)
    content = _content(setting, found, limit, flops)
    (out / "gpu_step.json").write_text(json.dumps(content, indent=1) + "\n")
    table = _table(content)
    console.print(table)
    leave(out, "gpu_step", f"steps of {setting.model} at {setting.size} x {setting.size} pixels, bf16", table)
    console.print(*_conclusions(content), sep="\n", soft_wrap=True)
    console.print(f"wrote {out}", soft_wrap=True)
    return 0


def _timed(way: Way, setting: Setting, ranks: Ranks, began: float) -> Timed:
    if time.monotonic() - began > setting.seconds:
        return Timed(way, said="no time left")
    config = config_of(way, setting.model, setting.settings)
    return timed(way, config, ranks, encoding_named(ENCODING), setting.size, setting.steps)


def _words(found: Timed) -> str:
    rate = f"{found.rate:.2f} samples/s" if found.rate is not None else found.said
    return f"{found.way}, micro-batch {found.way.micro}: {rate}"


def _check_equal(found: list[Timed]) -> None:
    """Raises RuntimeError where two ways of the same samples do not begin with the same loss: they do other work."""
    first: dict[int, Timed] = {}
    for one in found:
        if one.loss is None:
            continue
        other = first.setdefault(one.way.micro, one)
        assert other.loss is not None
        if abs(one.loss / other.loss - 1) > SAME:
            raise RuntimeError(f"{one.way} begins with a loss of {one.loss:g} and {other.way} with {other.loss:g}")


@cache
def _measured(model: str, settings: tuple[str, ...], size: int, channels_last: bool) -> Activations:
    config = config_of(Way(2, 1, channels_last=channels_last), model, list(settings))
    device: Device = "cuda" if torch.cuda.is_available() else "cpu"
    return Activations(config, (size, size), device, encoding_named(ENCODING))


def _activations(setting: Setting, *, channels_last: bool) -> Activations:
    return _measured(setting.model, tuple(setting.settings), setting.size, channels_last)


def _predicted(way: Way, setting: Setting) -> int | None:
    """Bytes of a GPU; None where the plan knows nothing: a plain loop, a compiled model, a CPU."""
    if way.stage is None or way.compile or not torch.cuda.is_available():
        return None
    config, activations = (
        config_of(way, setting.model, setting.settings),
        _activations(setting, channels_last=way.channels_last),
    )
    training = training_of(config, outline_of(config.nowcast), 1, 1, "cuda")
    return peak(training, activations.at(way.micro), activations.input_bytes(way.micro)).parts.device


def _content(setting: Setting, found: list[Timed], limit: float, flops: int) -> dict[str, Any]:
    """What goes into the JSON. Shares are of `limit`, operations a second."""
    rows = [
        {"what": str(one.way), **one.way._asdict(), "seconds": one.seconds, "samples_per_s": one.rate,
         "share": None if one.rate is None else one.rate * flops / limit,
         "epoch_s": None if one.rate is None else EPOCH / one.rate,
         "memory": one.memory, "predicted": _predicted(one.way, setting), "said": one.said, "first_loss": one.loss}
        for one in found
    ]  # fmt: skip
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {package: package_version(package) for package in PACKAGES},
        "machine": {"accelerator": accelerator(), "cores": cores()},
        "setting": asdict(setting),
        "matrix_flops_per_s": limit,
        "training_flops_per_sample": flops,
        "rows": rows,
    }


def _table(content: dict[str, Any]) -> Table:
    machine, setting = content["machine"], content["setting"]
    on = machine["accelerator"] if machine["accelerator"] != "none" else f"{machine['cores']} cores, no GPU"
    title = (
        f"{setting['model']} in bf16 at {setting['size']} x {setting['size']} pixels on {on}, accumulation 1, one rank"
    )
    table = Table(title=title, title_justify="left")
    for name in ("", "micro-batch", "samples/s", "share", "epoch, s", "GB", "planned GB"):
        table.add_column(name, justify="right" if name else "left")
    for row in content["rows"]:
        shown = [row["said"], "", ""]
        if row["seconds"] is not None:
            shown = [f"{row['samples_per_s']:.2f}", f"{row['share']:.2f}", f"{row['epoch_s']:,.0f}"]
        sizes = ["" if row[name] is None else f"{row[name] / 1e9:.2f}" for name in ("memory", "predicted")]
        table.add_row(row["what"], str(row["micro"]), *shown, *sizes)
    return table


def _conclusions(content: dict[str, Any]) -> Iterator[str]:
    rows = [row for row in content["rows"] if row["seconds"] is not None]
    flops, limit = content["training_flops_per_sample"], content["matrix_flops_per_s"]
    yield f"{flops / 1e9:,.1f} GFLOP a sample in training; bf16 matrices: {limit / 1e12:,.1f} TFLOP/s; share: of that"
    ours = [row for row in rows if row["stage"] is not None]
    if ours:
        best = max(ours, key=lambda row: row["samples_per_s"])
        verdict = "reached" if best["share"] >= TO_REACH else "missed"
        yield (
            f"best: {best['what']}, micro-batch {best['micro']}: {best['samples_per_s']:.2f} samples/s, share {best['share']:.2f} (to "
            f"reach {TO_REACH}: {verdict}), an epoch of {EPOCH:,} windows in {best['epoch_s'] / 60:,.1f} min"
        )
    for plain in (row for row in rows if row["stage"] is None):
        same = ("micro", "channels_last", "fused", "compile")
        for row in ours:
            if all(row[name] == plain[name] for name in same):
                yield f"{row['what']} / plain PyTorch: {row['samples_per_s'] / plain['samples_per_s']:.2f}"


if __name__ == "__main__":
    sys.exit(main())
