"""Tunes a config by real runs: `python -m ds_nowcast.tune ...`. The same command goes on."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from data_prep.console import ends_politely, positive, positive_number, sigterm_raises, whole
from data_prep.errors import UserError
from data_prep.files import check_writable, writing
from ds_nowcast.config import load_config
from ds_nowcast.config.overrides import add_set_option
from ds_nowcast.doctor.hostfile import read_hostfile
from ds_nowcast.launch.ending import parser
from ds_nowcast.measuring.slots import hosts_for
from ds_nowcast.stream.windows import open_for
from ds_nowcast.tuning.combinations import Configs
from ds_nowcast.tuning.display import Display
from ds_nowcast.tuning.folder import TrialsFolder
from ds_nowcast.tuning.objective import Launches, Objective
from ds_nowcast.tuning.score import Score
from ds_nowcast.tuning.search import Limits, Searching, measured_again
from ds_nowcast.tuning.space import Space, made_space, read_space
from ds_nowcast.tuning.speed import STEPS, Speed
from ds_nowcast.tuning.study import Search
from ds_nowcast.tuning.usual import usual_space
from ds_nowcast.tuning.written import told_gain, write_config, write_picture, write_table

EXAMPLE = (
    "python -m ds_nowcast.tune --deepspeed_config ds_configs/unet_zero2_bf16.json --shards shards/sevir \\\n"
    "      --hostfile hostfile --out tuned.json --trials 30"
)
_MINUTES = {"samples_per_s": 10.0, "val_csi": 240.0}  # of one launch
_TURNS = {"samples_per_s": 3, "val_csi": 2}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    options = parser("python -m ds_nowcast.tune", "Tune a config by real runs; the same command goes on.", EXAMPLE)
    _add_what(options)
    _add_how(options)
    args = options.parse_args(words)
    with sigterm_raises():
        return ends_politely(lambda: tune(args, shlex.join(["python", "-m", "ds_nowcast.tune", *words])))


def _add_what(options: argparse.ArgumentParser) -> None:
    add = options.add_argument
    add("--deepspeed_config", required=True, type=Path, metavar="FILE", help="the config to start from")
    add("--shards", required=True, metavar="DIR", help="shards folder")
    add(
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help="the tuned config, .json; its table, picture and trials lie beside",
    )
    add("--hostfile", type=Path, metavar="FILE", help="hosts and slots (default: this machine)")
    add("--ranks", type=positive, metavar="N", help="ranks of a trial (default: all slots, or this machine's GPUs)")
    add_set_option(options, "override settings of the start")
    add(
        "--objective", choices=("samples_per_s", "val_csi"), default="samples_per_s",
        help="what is made large: speed at the same samples of a step, or the validation split's CSI after --steps steps",
    )  # fmt: skip
    add("--space", type=Path, metavar="FILE", help='JSON: {"dotted.key": [values]} (default: what makes sense)')


def _add_how(options: argparse.ArgumentParser) -> None:
    add = options.add_argument
    add("--trials", type=positive, default=24, metavar="N", help="launches of the search (default 24)")
    add("--minutes", type=positive_number, metavar="M", help="in which trials begin, of this run of the command")
    add("--memory-limit", type=positive_number, metavar="GB", help="of a rank, in 10^9 bytes (default: what it has)")
    add("--device", choices=("cuda", "cpu"), help="where ranks run (default: what this machine has)")
    add(
        "--steps",
        type=positive,
        metavar="N",
        help=f"measured of a trial (default {STEPS}); of val_csi, of a training (default: a tenth)",
    )
    add(
        "--turns",
        type=positive,
        metavar="N",
        help="in which the start and the best are measured again (default 3; val_csi: 2)",
    )
    add(
        "--trial-minutes",
        type=positive_number,
        metavar="M",
        help="after which a launch is ended (default 10; val_csi: 240)",
    )
    add("--seed", type=whole, default=0, metavar="N", help="of the search (default 0)")
    add("--anew", action="store_true", help="put aside what another search left beside --out")


def tune(args: argparse.Namespace, command: str = "") -> int:
    """Searches to the end, and writes what came of it. Returns the exit code; raises ExpectedError."""
    check_writable(args.out, ".json")
    device = args.device or ("cuda" if _has_gpu() else "cpu")
    ranks, here = _ranks(args, device)
    shards = open_for(args.shards, load_config(args.deepspeed_config, args.set).nowcast.data)
    configs = Configs(args.deepspeed_config, args.set, shards, ranks)
    memory = _memory(args, device, here)
    space = _space(args, configs, device, here)
    objective = _objective(args, configs)
    folder = TrialsFolder(args.out)
    try:
        folder.begin(_searched(args, configs, space, memory), anew=args.anew)
        search = Search(folder.path, space, args.seed, objective.halving)
        limits = Limits(args.trials, args.minutes, memory)
        with Display(space, objective.unit, objective.digits, quiet=args.quiet) as display:
            searching = Searching(configs, space, objective, folder, search, limits, display)
            display.goes_on(searching.trials, searching.best)
            told = f"{ranks} ranks on {device}; {len(space.settings)} settings, {space.size} combinations"
            display.say(f"{told}; {len(searching.trials)} trials are done" if searching.trials else told)
            _finish(args, searching, display, command)
    finally:
        folder.leave()
    return 0


def _finish(args: argparse.Namespace, searching: Searching, display: Display, command: str) -> None:
    """Searches, measures again, writes."""
    best = searching.run()
    if best is None:
        reasons = "; ".join(dict.fromkeys(t.result.reason for t in searching.trials if t.result.reason))
        raise UserError(f"no trial could be measured: {reasons[:500]}; see the logs in {searching.folder.path}")
    turns = args.turns or _TURNS[args.objective]
    verdict = measured_again(searching, best, turns)
    with writing(args.out):
        write_config(args.out, searching, verdict)
        write_table(args.out.with_suffix(".md"), searching, verdict, command)
    display.say(told_gain(searching, verdict))
    words = searching.configs.words(searching.space, verdict.chosen)
    display.say(f"in {args.out}" + (f": --set {shlex.join(words)}" if words else ""))
    if args.objective != "samples_per_s":  # a score has no memory to be held against
        return
    try:
        with writing(args.out):
            write_picture(args.out.with_suffix(".png"), searching, verdict)
    except UserError as error:  # the pictures' library is an extra
        display.say(f"no picture: {error}")


def _has_gpu() -> bool:
    return os.environ.get("DS_ACCELERATOR") != "cpu" and torch.cuda.is_available()


def _ranks(args: argparse.Namespace, device: str) -> tuple[int, int]:
    """Ranks of a trial, and the most of them on one host. Raises UserError where there are too few slots."""
    if args.hostfile is None:
        ranks = args.ranks or (max(1, torch.cuda.device_count()) if device == "cuda" else 1)
        return ranks, ranks
    ranks = args.ranks or sum(host.slots for host in read_hostfile(args.hostfile))
    return ranks, max(host.slots for host in hosts_for(ranks, args.hostfile))


def _memory(args: argparse.Namespace, device: str, here: int) -> int | None:
    """Bytes that a rank may take; None where nothing is measured. Raises UserError where it has to be given."""
    if args.objective == "val_csi":
        if args.memory_limit is not None:
            raise UserError("--memory-limit is of samples_per_s; trainings for a score are not measured, leave it out")
        return None
    if args.memory_limit is not None:
        return int(args.memory_limit * 1e9)
    if device == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // here
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    raise UserError("this machine has no GPU to ask for its memory; give --memory-limit GB, of each GPU")


def _space(args: argparse.Namespace, configs: Configs, device: str, here: int) -> Space:
    candidates = (
        usual_space(configs.start, configs.batch, device, here, args.objective)
        if args.space is None
        else read_space(args.space, args.objective)
    )
    space = made_space(configs.start, configs.batch, candidates)
    if not space.settings:
        raise UserError("there is nothing to try: every key has the start's own value alone; give more in --space")
    _check_some_use(args, configs, space)
    return space


def _check_some_use(args: argparse.Namespace, configs: Configs, space: Space) -> None:
    """A value that the config refuses whatever else is set is a slip, where the user wrote it: a misspelled key, say."""
    if args.space is None:
        return
    for setting in space.settings:
        for value in setting.values[1:]:
            refusal = configs.refusal(space, {**space.start, setting.key: value})
            if "unknown key" in refusal or f"{setting.key.rpartition('.')[2]} is " in refusal:
                raise UserError(f"--space {args.space}: {setting.key}={value}: {refusal}")


def _objective(args: argparse.Namespace, configs: Configs) -> Objective:
    minutes = args.trial_minutes or _MINUTES[args.objective]
    environment = {} if args.device is None else {"DS_ACCELERATOR": args.device}
    launches = Launches(
        args.deepspeed_config, args.shards, args.set, configs.ranks, args.hostfile, 60 * minutes, environment
    )
    if args.objective == "samples_per_s":
        return Speed(launches, configs.batch.total, _steps(args, configs))
    keys, steps = configs.start.nowcast, _steps(args, configs)
    if steps > keys.steps:
        raise UserError(f"--steps {steps} is more than nowcast.steps {keys.steps}; give fewer, or --set nowcast.steps")
    return Score(launches, keys.seed, steps)


def _steps(args: argparse.Namespace, configs: Configs) -> int:
    """Measured of a trial, or trained in one."""
    usual = STEPS if args.objective == "samples_per_s" else max(1, configs.start.nowcast.steps // 10)
    return int(args.steps or usual)


def _searched(args: argparse.Namespace, configs: Configs, space: Space, memory: int | None) -> dict[str, object]:
    """What makes a search another one."""
    hosts = (
        None
        if args.hostfile is None
        else [f"{h.name} slots={h.slots}" for h in hosts_for(configs.ranks, args.hostfile)]
    )
    return {
        "objective": args.objective,
        "config": configs.start.to_dict(),
        "shards": configs.index_hash,
        "space": space.to_json(),
        "ranks": configs.ranks,
        "hosts": hosts,
        "memory_limit": memory,
        "steps": _steps(args, configs),
        "seed": args.seed,
    }


if __name__ == "__main__":
    sys.exit(main())
