"""A plan for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from data_prep.console import wide_console
from ds_nowcast.planning.findings import SIZE, Plan
from ds_nowcast.planning.options import CONTEXT, MARGIN, Option, choice_of, reason, settings
from ds_nowcast.planning.peak import Peak
from ds_nowcast.planning.training import precision


def show(plan: Plan, *, quiet: bool = False) -> None:
    """Prints it. quiet: only what fits and what to take."""
    console = wide_console()
    if not quiet:
        for line in _lines(plan):
            console.print(line, markup=False)
        console.print(_table(plan))
    for line in _advice(plan):
        console.print(line, markup=False, soft_wrap=True)


def gb(size: float) -> str:
    """Bytes in GB of 10^9."""
    return f"{size / 1e9:.2f}"


def _lines(plan: Plan) -> Iterator[str]:
    keys, (forward, training) = plan.config.nowcast, plan.flops
    rows, columns = plan.shape
    yield f"model       {keys.model.name}, {plan.parameters:,} parameters, {precision(plan.config)}"
    yield (
        f"operations  {forward / 1e9:,.1f} GFLOP a sample forward, {training / 1e9:,.1f} in training, at {rows} x {columns} pixels"
        + (f" ({_source(plan)})" if plan.windows is None else "")
    )
    yield f"batch       {plan.batch}"
    if rates := plan.config.rates(plan.batch).told:
        yield f"rate        {rates}"
    yield f"epoch       {_epoch(plan)}"
    yield (
        f"disk        checkpoint {gb(plan.disk.checkpoint)} GB, exported model {gb(plan.disk.exported)} GB, run folder at most "
        f"{gb(plan.disk.run)} GB (checkpoint.keep {keys.checkpoint.keep}, one being written, the best)"
    )
    yield f"memory      {_memory(plan)}"


def _source(plan: Plan) -> str:
    if plan.config.nowcast.data.augment.crop is not None:
        return "nowcast.data.augment.crop"
    return "--size" if plan.asked.size else f"SEVIR's {SIZE}; give --shards or --size"


def _epoch(plan: Plan) -> str:
    if plan.windows is None or plan.steps_per_epoch is None:
        return "give --shards to know its steps"
    epochs = plan.config.nowcast.steps / plan.steps_per_epoch
    return f"{plan.windows:,} windows = {plan.steps_per_epoch:,.1f} steps; {plan.config.nowcast.steps:,} steps are {epochs:,.1f} epochs"


def _memory(plan: Plan) -> str:
    parts = plan.own.parts
    host = f", and {gb(parts.host)} GB of its host's" if parts.host else ""
    where = "GPU" if plan.asked.device == "cuda" else "rank on a CPU"
    return f"{gb(parts.device)} GB per {where} as configured{host}, fullest in {plan.own.when}"


def _table(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"GB per rank at micro-batch {plan.batch.micro}", title_justify="left")
    for name in ("ZeRO", "on the CPU", "checkpointing"):
        table.add_column(name)
    for name in ("weights", "gradients", "optimizer", "buffers", "activations", "in all", "host", "micro-batch"):
        table.add_column(name, justify="right")
    for option in plan.options:
        table.add_row(*_row(plan, option))
    return table


def _row(plan: Plan, option: Option) -> list[str]:
    choice = option.choice
    own = "> " if choice == choice_of(plan.config) else "  "
    words = [f"{own}{choice.stage}", choice.offload or "-", "yes" if choice.checkpointing else "-"]
    if option.peak is None:
        return [*words, *["-"] * 7, "refused"]
    return [*words, *_sizes(option.peak), _fits(plan, option)]


def _sizes(found: Peak) -> list[str]:
    p = found.parts
    sizes = (p.weights, p.gradients, p.optimizer, p.buffers, p.activations, p.device)
    return [*map(gb, sizes), gb(p.host) if p.host else "-"]


def _fits(plan: Plan, option: Option) -> str:
    if plan.usable is None:
        return "?"
    if option.micro is None:
        return "none"
    return f"all {option.micro} of a step" if option.micro == plan.batch.per_rank else f"up to {option.micro}"


def _advice(plan: Plan) -> Iterator[str]:
    for refusal in dict.fromkeys(option.refused for option in plan.options if option.refused):
        yield f"refused: {refusal}"
    yield from (f"beware: {caution}" for caution in plan.config.cautions(plan.batch))
    if plan.usable is None:
        if plan.asked.device == "cuda":
            yield "there is no GPU here: give --gpu-memory GB to know what fits"
        return
    yield (
        f"a GPU counts for {gb(plan.usable)} GB: {MARGIN:.0%} stay free, for fragments, and {gb(CONTEXT)} GB for CUDA and NCCL"
    )
    best = plan.recommended
    if best is None:
        yield "nothing fits: more GPUs split more at stage 3, smaller images or a crop need less for activations"
        return
    changes = settings(best, plan.batch, plan.config)
    beside = " beside your own --set" if plan.asked.overrides else ""
    yield f"take: {'--set ' + ' '.join(changes) + beside if changes else 'the config as it is'}"
    yield f"      {reason(best, plan.batch, choice_of(plan.config))}"
