"""The memory and disk of a large model's training under ZeRO on this machine's CPUs, beside what the plan predicts.

Trains for some steps in a real launch, resumes with as many more in a second one, and exports. Not in CI: a model of a
billion parameters takes some 20 GB of memory, 30 GB of disk and ten minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.archive import open_archive, simulate
from benchmarks.machine import cores
from benchmarks.page import leave
from benchmarks.watching import CONSTRUCTED, FORECAST, Phase, launch, scratch, size_of, watch
from data_prep.console import ends_politely, positive, wide_console
from ds_nowcast.planning.findings import Asked, Plan, plan
from ds_nowcast.planning.training import weight_dtype
from ds_nowcast.training.checkpoints import tag_of
from ds_nowcast.training.run_folder import RunFolder

EXAMPLE = "python -m benchmarks.large_model --preset xl --size 64"
EVENTS = 8
FIRST = "first launch"
SMALLEST = ["nowcast.model.width=8", "nowcast.model.depth=1"]  # 0.1 million parameters: what libraries take
# bf16 throughout: 10 bytes a parameter over all ranks; small buckets: on CPUs all of it is the machine's memory
CONFIG: dict[str, Any] = {
    "gradient_clipping": 1.0,
    "bf16": {"enabled": True, "bf16_master_weights_and_grads": True, "bf16_optimizer_states": True},
    "zero_optimization": {
        "stage": 3,
        "reduce_bucket_size": 1_000_000,
        "stage3_prefetch_bucket_size": 0,
        "stage3_max_reuse_distance": 0,
        "stage3_max_live_parameters": 0,
        "sub_group_size": 50_000_000,
    },
    "optimizer": {"type": "AdamW", "params": {"lr": 1e-4, "weight_decay": 0.01, "torch_adam": True}},
    "nowcast": {
        "model": {"name": "convnext_unet"},
        "data": {"shuffle_shards": 2},
        "evaluation": {"split": "train", "micro_batch": 1, "max_windows": 2},
        "log_every": 1,
    },
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = argparse.ArgumentParser("python -m benchmarks.large_model", epilog=f"example: {EXAMPLE}")
    options.add_argument("--preset", help="of convnext_unet (default xl; none with --width and --depth)")
    options.add_argument("--width", type=positive, help="channels of the first level, a multiple of 8")
    options.add_argument("--depth", type=positive, help="blocks of a level on the way down")
    options.add_argument("--size", type=positive, default=64, metavar="PX", help="pixels of the images (default 64)")
    options.add_argument("--ranks", type=positive, default=2, help="ranks, each with as many threads as fall to it")
    options.add_argument("--steps", type=positive, default=2, help="optimizer steps of each of the two launches")
    options.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="override settings")
    options.add_argument("--forward-only", action="store_true", help="construct it and make one forecast, no training")
    options.add_argument(
        "--out", type=Path, metavar="DIR", help="for large_model.json and the logs (default: a new one)"
    )
    args = options.parse_args(argv)
    return ends_politely(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    out = args.out or scratch()
    out.mkdir(parents=True, exist_ok=True)
    config, settings = out / "config.json", [*_model(args), *args.set]
    batch = {"train_batch_size": args.ranks, "train_micro_batch_size_per_gpu": 1}
    config.write_text(json.dumps(CONFIG | batch | {"nowcast": CONFIG["nowcast"] | {"steps": args.steps}}))
    planned = plan(Asked(config, settings, args.ranks, "cpu", None, None, args.size))
    console = wide_console()
    what = f"convnext_unet of {planned.parameters:,} parameters, {args.size} x {args.size} pixels, {args.ranks} ranks"
    console.print(f"{what}, {cores()} cores", soft_wrap=True)
    work = forecast if args.forward_only else train
    if work is train:
        prepare(args.size, out)
    base = max(phase.peak for phase in work(config, [*args.set, *SMALLEST], args, out)[FIRST])
    phases = work(config, settings, args, out)
    table = _table(phases, base)
    console.print(table)
    leave(out, "large_model", f"{what}, GB of 10^9 bytes", table)
    told = _shares(planned) if args.forward_only else _predictions(planned, base)
    console.print(*told, sep="\n", soft_wrap=True)
    found = {name: [asdict(phase) for phase in of_launch] for name, of_launch in phases.items()}
    content = {"parameters": planned.parameters, "libraries": base, "plan": planned.to_json(), "phases": found}
    (out / "large_model.json").write_text(json.dumps(content, indent=1) + "\n")
    console.print(f"wrote {out}", soft_wrap=True)
    return 0


def _model(args: argparse.Namespace) -> list[str]:
    """The settings of the model asked for."""
    sizes = {"width": args.width, "depth": args.depth}
    own = [f"nowcast.model.{name}={size}" for name, size in sizes.items() if size]
    preset = args.preset or (None if own else "xl")
    return [*([f"nowcast.model.preset={preset}"] if preset else []), *own]


def prepare(size: int, out: Path) -> None:
    """The shards to train on, in `out`."""
    for name in ("archive", "shards"):
        shutil.rmtree(out / name, ignore_errors=True)
    simulate(out / "archive", EVENTS, size)
    open_archive(out / "archive", out)


def train(config: Path, settings: list[str], args: argparse.Namespace, out: Path) -> dict[str, list[Phase]]:
    """Trains, resumes, exports, and removes the run folder."""
    shards, run = out / "shards", RunFolder(out / "run")
    shutil.rmtree(run.path, ignore_errors=True)
    phases = {}
    for name, steps in ((FIRST, args.steps), ("resumed", 2 * args.steps)):
        log = out / f"{name.replace(' ', '_')}.log"
        words = [*settings, f"nowcast.steps={steps}"]
        command = ["--deepspeed_config", config, "--shards", shards, "--run", run.path, "--set", *words]
        started = launch("ds_nowcast.train", command, args.ranks, log)
        phases[name] = _watched(started, lambda log=log, steps=steps: phase_of(run, log, steps), run.path, log)  # type: ignore[misc]
    exported, checkpoint = (run.path / "last.safetensors").stat().st_size, size_of(run.checkpoints / tag_of(args.steps))
    phases["on disk"] = [Phase("checkpoint", disk=checkpoint), Phase("exported model", disk=exported)]
    shutil.rmtree(run.path)
    return phases


def phase_of(run: RunFolder, log: Path, steps: int) -> str:
    """What a training is doing, by what it has printed and written."""
    said = log.read_text(errors="replace")
    if "ranks on cpu" not in said:
        return "constructing model and engine"
    if run.has_checkpoints and "resuming at step" not in said and f"step {steps}" not in said:
        return "loading the checkpoint"
    if f"step {steps}/{steps}" not in said:
        return "optimizer steps"
    if f"step {steps}: " not in said:
        return "evaluation and export"
    latest = run.checkpoints / "latest"
    if not latest.exists() or latest.read_text() != tag_of(steps):
        return "saving the checkpoint"
    return "export of the last step"


def forecast(config: Path, settings: list[str], args: argparse.Namespace, out: Path) -> dict[str, list[Phase]]:
    """Constructs the model over the ranks, and lets it make one forecast."""
    log = out / "forecast.log"

    def phase() -> str:
        return "forward pass" if CONSTRUCTED in log.read_text(errors="replace") else "constructing the model"

    started = launch("benchmarks.forward_case", [config, args.size, *settings], args.ranks, log)
    phases = _watched(started, phase, out, log)
    print(*(line for line in log.read_text().splitlines() if CONSTRUCTED in line or FORECAST in line), sep="\n")
    return {FIRST: phases}


def _watched(started: Any, phase_of: Callable[[], str], folder: Path, log: Path) -> list[Phase]:
    try:
        return watch(started, phase_of, folder)
    except RuntimeError as error:
        raise RuntimeError(f"{error}; {log} ends so:\n{log.read_text(errors='replace')[-2000:]}") from None


def _table(phases: dict[str, list[Phase]], base: int) -> Table:
    table = Table(title="GB of 10^9 bytes: measured", title_justify="left")
    for name in ("", "phase"):
        table.add_column(name)
    for name in ("a rank", "less libraries", "all ranks", "disk", "seconds"):
        table.add_column(name, justify="right")
    for launched, of_launch in phases.items():
        for phase in of_launch:
            grown = gb(max(phase.peak - base, 0)) if phase.peak else ""
            sizes = (gb(phase.peak), grown, gb(phase.together), gb(phase.disk), f"{phase.seconds:.0f}")
            table.add_row(launched, phase.name, *(size if size != gb(0) else "" for size in sizes))
        table.add_section()
    return table


def _shares(planned: Plan) -> list[str]:
    width, ranks = weight_dtype(planned.config).itemsize, planned.batch.ranks
    whole = planned.parameters * width
    return [f"the weights: {gb(whole)} GB in {8 * width} bits, a rank's share {gb(whole / ranks)} GB"]


def _predictions(planned: Plan, base: int) -> list[str]:
    parts, disk = planned.own.parts, planned.disk
    step = parts.device + parts.host
    return [
        f"predicted: optimizer steps {gb(step)} GB a rank beside libraries ({gb(base)}), fullest in {planned.own.when}: "
        f"weights {gb(parts.weights)}, gradients {gb(parts.gradients)}, optimizer {gb(parts.optimizer)}, buffers {gb(parts.buffers)}, "
        f"activations {gb(parts.activations)}, host {gb(parts.host)}",
        f"predicted: checkpoint {gb(disk.checkpoint)} GB, exported model {gb(disk.exported)} GB",
    ]


def gb(size: float) -> str:
    """Bytes in GB of 10^9."""
    return f"{size / 1e9:.2f}"


if __name__ == "__main__":
    sys.exit(main())
