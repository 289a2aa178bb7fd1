"""Scores a trained model on a split against baselines: plain python, or `deepspeed ... --module ds_nowcast.evaluate`."""

from __future__ import annotations

import json
import math
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from data_prep.console import progress
from data_prep.errors import DataError, UserError
from data_prep.files import write_atomically, writing
from data_prep.shards.index import Shards, open_shards
from data_prep.shards.sources import SourceOptions
from ds_nowcast import ranks as process_group
from ds_nowcast.baselines import Baseline, baselines_for
from ds_nowcast.config import load_config
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.exported import ModelCard, open_model
from ds_nowcast.forecasting.tiling import forecast_domain
from ds_nowcast.forecasting.turned import TURNED, Turned
from ds_nowcast.launch.ending import Launch, ends_as_a_rank, parser
from ds_nowcast.model_space import Windows
from ds_nowcast.models import NowcastModel, check_size
from ds_nowcast.scoring.evaluation import MODEL, Evaluation, Predict, Scored
from ds_nowcast.scoring.records import WindowRecord, lines
from ds_nowcast.scoring.report import Case, cases_of, score_table, write_report
from ds_nowcast.scoring.report.numbers import TILES
from ds_nowcast.scoring.skill import skills
from ds_nowcast.stream.order import window_starts
from ds_nowcast.stream.windows import source_options

EXAMPLE = (
    "deepspeed --hostfile hostfile --module ds_nowcast.evaluate --run runs/unet --shards shards/sevir --split test"
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = parser("ds_nowcast.evaluate", "Score a trained model against persistence and other baselines.", EXAMPLE)
    which = options.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", type=Path, metavar="DIR", help="run folder; its best evaluated step is scored")
    which.add_argument("--model", type=Path, metavar="FILE", help="a .safetensors file with its .json beside it")
    options.add_argument("--shards", required=True, metavar="DIR", help="shards folder")
    options.add_argument("--split", required=True, metavar="NAME", help="split of the shards folder to score on")
    options.add_argument("--turned", action="store_true", help=TURNED)
    options.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where scores.json, windows.jsonl and report/ go (default: the model's folder)",
    )
    return ends_as_a_rank(lambda launch: evaluate(options.parse_args(argv), launch))


def evaluate(args: Namespace, launch: Launch) -> int:
    """Writes `scores.json`, `windows.jsonl` and the report. Returns 0; raises ExpectedError."""
    out: Path = args.out or args.run or args.model.parent
    if args.out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; give a folder")
    shards = open_shards(args.shards, _as_trained(args.run))
    shards.split(args.split)
    ranks = process_group.join(launch.store)
    torch.set_num_threads(ranks.threads)
    model, card = open_model(args.run, args.model, ranks.device)
    check_shards(card, shards, model.stride)
    if args.turned:
        model = Turned(model)

    data = _with_room(card.data(args.split), card.micro_batch, shards)
    baselines, absent = baselines_for(shards.index, card.trained_on.split)
    evaluation = Evaluation(
        shards,
        args.split,
        data,
        card.thresholds,
        ranks,
        micro_batch=card.micro_batch,
        full=True,
        baselines=baselines | tiles_of(model, card, shards),
    )
    windows = shards.split(args.split).samples * len(window_starts(shards.index.frames, data))
    with progress("windows", windows, quiet=args.quiet or not ranks.first) as advance:
        scored = evaluation.run(model, advance)
    if scored.bad:
        raise DataError(
            f"{len(scored.bad)} windows cannot be read (the first: {scored.bad[0]}); "
            f"run `python -m data_prep verify {shards.source.location}`"
        )
    if ranks.first:
        with writing(out):
            scores = scores_of(scored, card, shards, args.split, absent, turned=args.turned)
            _write(out, scores, scored.records)
            _report(
                out,
                scores,
                args.run,
                lambda: cases_of(scored.records, model, card, shards, args.split, _drawn(baselines)),
            )
    ranks.barrier()
    return 0


def _drawn(baselines: dict[str, Baseline]) -> dict[str, Baseline]:
    """Those that are worth a row of pictures: not one number."""
    return {name: baseline for name, baseline in baselines.items() if name != "climatology"}


def _as_trained(run: Path | None) -> SourceOptions:
    """How the run's config reads shards; as by default without a run."""
    config = None if run is None else run / "config.json"
    return source_options(load_config(config).nowcast.data if config and config.is_file() else DataKeys())


def _with_room(data: DataKeys, batch: int, shards: Shards) -> DataKeys:
    """The same with a buffer for two batches at least: who only scores a model cannot set it."""
    index = shards.index
    two_mb = 2 * batch * data.window * math.prod(index.shape) * index.codes.dtype.itemsize / 2**20
    return data.model_copy(update={"buffer_mb": max(data.buffer_mb, math.ceil(two_mb))})


def tiles_of(model: NowcastModel, card: ModelCard, shards: Shards) -> dict[str, Baseline]:
    """The model as `ds_nowcast.forecast` runs it on images larger than it was trained on, in tiles; else nothing."""
    if all(side <= trained for side, trained in zip(shards.index.shape, card.shape, strict=True)):
        return {}

    def in_tiles(windows: Windows, leads: int) -> torch.Tensor:
        domains = [
            forecast_domain(model_on(windows), past_THW.cpu(), card.shape, model.stride)
            for past_THW in windows.past_BTHW
        ]
        return torch.stack(domains).to(windows.past_BTHW.device).clamp(0.0, 1.0)

    def model_on(windows: Windows) -> Predict:
        return lambda tiles_BTHW: model(tiles_BTHW.to(windows.past_BTHW.device))

    return {TILES: in_tiles}


def _write(out: Path, scores: dict[str, Any], records: Sequence[WindowRecord]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "windows.jsonl", lines(records))
    write_atomically(out / "scores.json", (json.dumps(scores, indent=1, allow_nan=False) + "\n").encode())
    print(score_table(scores))


def _report(out: Path, scores: dict[str, Any], run: Path | None, cases: Callable[[], list[Case]]) -> None:
    try:
        write_report(out / "report", scores, cases(), run)
        print(f"scores in {out / 'scores.json'}, report in {out / 'report' / 'index.html'}")
    except UserError as error:  # the pictures' library is an extra: scores must not depend on it
        print(f"scores in {out / 'scores.json'}; no report: {error}", file=sys.stderr)


def check_shards(card: ModelCard, shards: Shards, stride: int) -> None:
    """Raises UserError where these shards are not what the model takes."""
    index = shards.index
    card.check_kind(
        shards.source.location,
        unit=index.unit,
        cadence_s=index.cadence_s,
        pixel=index.pixel,
        pixel_unit=index.pixel_unit,
    )
    if index.encoding != card.encoding:
        raise UserError(
            f"{shards.source.location} holds {index.encoding} codes, the model takes {card.encoding}; build with --encoding {card.encoding}"
        )
    window_starts(index.frames, card.data("any"))
    check_size(stride, *index.shape)


def scores_of(
    scored: Scored, card: ModelCard, shards: Shards, split: str, absent: dict[str, str], *, turned: bool
) -> dict[str, Any]:
    """The content of `scores.json`. absent: why a baseline was not scored. turned: whether the model was `Turned`."""
    index = shards.index
    task = {
        "frames": card.input_frames,
        "leads": card.output_frames,
        "cadence_s": card.cadence_s,
        "pixel": index.pixel,
        "pixel_unit": index.pixel_unit,
        "unit": index.unit,
        "thresholds": card.thresholds.model_dump(),
        "windows": scored.windows,
        "split": split,
        "data": _relation(card, shards, split),
        "index_hash": shards.hash,
        "model": {"name": card.name, "parameters": card.parameters, "step": card.step, "turned": turned},
        "versions": {name: _version(name) for name in ("ds-nowcast", "torch")},
    }
    references = [name for name in scored.scores if name not in (MODEL, TILES)]
    skill = {name: skills(scored.model, scored.scores[name]) for name in references}
    return {"task": task, **scored.scores, **{name: {"absent": why} for name, why in absent.items()}, "skill": skill}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from its folder
        return "not installed"


def _relation(card: ModelCard, shards: Shards, split: str) -> str:
    """How the scored data relate to those trained on: a score on training data is no skill."""
    if shards.hash != card.trained_on.index_hash:
        return "other shards than those trained on; whether they overlap is not known"
    if split == card.trained_on.split:
        return "training data"
    return "used to choose the best step" if split == card.trained_on.chosen_on else "held out"


if __name__ == "__main__":
    process_group.end_process(main())
