"""Run on ranks by test_ema: what a running mean of the weights is at every ZeRO stage and precision, and after what."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from deepspeed.accelerator import get_accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from ds_nowcast import ranks as process_group
from ds_nowcast.config.nowcast_keys import EmaKeys
from ds_nowcast.engine import Engine
from ds_nowcast.ranks import Ranks
from tests.ds_nowcast import engine_case
from tests.ds_nowcast.engine_case import weights_of

DECAY = 0.33  # (1 + n) / (10 + n) is below it for three steps
STEPS, OVERFLOW = 6, 2  # the number of the step whose gradients overflow
SGD = {"optimizer": {"type": "SGD", "params": {"lr": 0.1}}, "zero_allow_untested_optimizer": True}
ADAGRAD = {"optimizer": {"type": "Adagrad", "params": {"lr": 0.05}}}
OFFLOAD = {"optimizer": {"type": "AdamW", "params": {"lr": 0.02, "weight_decay": 0.01}}, "device": "cpu"}
FP32_GRADS = {"data_types": {"grad_accum_dtype": "fp32"}}
AUTOCAST = {"torch_autocast": {"enabled": True, "dtype": "bfloat16"}}


class Case(NamedTuple):
    """How an engine is made."""

    precision: str
    stage: int
    what: str = ""  # that is special
    keys: dict[str, Any] = {}  # noqa: RUF012

    @property
    def name(self) -> str:
        return "_".join(filter(None, (self.precision, str(self.stage), self.what)))


CASES = {
    case.name: case
    for case in (
        *(Case(precision, stage) for precision in ("fp32", "bf16") for stage in range(4)), Case("fp16", 0), Case("fp16", 2),
        Case("bf16", 0, "flat"), Case("bf16", 1, "fp32grads", FP32_GRADS), Case("fp32", 3, "subgroups"),
        Case("fp32", 3, "autocast", AUTOCAST), Case("bf16", 2, "offload", OFFLOAD), Case("bf16", 3, "offload", OFFLOAD),
        Case("fp32", 2, "sgd", SGD), Case("fp32", 2, "adagrad", ADAGRAD),
    )
}  # fmt: skip
MOVES = [
    ("fp32_0", "fp32_1"), ("fp32_1", "fp32_2"), ("fp32_2", "fp32_3"), ("fp32_3", "fp32_0"), ("bf16_0", "bf16_3"),
    ("fp16_2", "fp16_0"), ("bf16_0_flat", "bf16_2"), ("bf16_2", "bf16_0_flat"), ("bf16_1_fp32grads", "bf16_3"),
    ("bf16_3", "bf16_1_fp32grads"), ("fp32_3_subgroups", "fp32_2"), ("bf16_3_offload", "bf16_2_offload"),
]  # fmt: skip
TO_THREE_RANKS = [
    ("fp32_0", "fp32_3"), ("fp32_1", "fp32_1"), ("fp32_3", "fp32_2"), ("fp32_3_subgroups", "fp32_3_subgroups"),
    ("bf16_2", "bf16_0"),
]  # fmt: skip
TURNED = ["bf16_2", "fp32_3"]
Weights = dict[str, torch.Tensor]


def net() -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 1, 1))
    model.register_buffer("scale", torch.tensor([1.5]))
    return model


class Training(engine_case.Training):
    """As there, with a mean of the weights."""

    def __init__(self, case: Case, ranks: Ranks, *, ema: bool = True) -> None:
        config = engine_case.config_of(case.precision, case.stage, ranks) | dict(case.keys)
        del config["scheduler"]
        if config.pop("device", None):
            config["zero_optimization"]["offload_optimizer"] = {"device": "cpu", "pin_memory": False}
        if case.what == "subgroups":
            config["zero_optimization"] |= {"sub_group_size": 30, "stage3_param_persistence_threshold": 5}
        with ExitStack() as stack:
            if case.what == "flat":  # as on a GPU
                stack.enter_context(patch("deepspeed.runtime.engine.FusedAdam", torch.optim.AdamW))
            keys = EmaKeys(decay=DECAY) if ema else None
            self.ranks, self.engine = ranks, Engine(net(), config, ranks, ema=keys)
        self.case = case

    def mean(self) -> Weights:
        """On all ranks."""
        with self.engine.averaged():
            mean = weights_of(self.engine)
        return self.everywhere(mean)

    def everywhere(self, weights: Weights) -> Weights:
        shared: Weights = self.ranks.from_first(weights)
        return shared

    def forecast(self) -> torch.Tensor:
        self.engine.train(False)
        past = torch.rand((1, 2, 6, 6), generator=torch.Generator().manual_seed(77))
        with torch.no_grad():
            prediction = self.engine(past.to(self.engine.dtype)).float()
        self.engine.train(True)
        return prediction

    def forecast_by(self, weights: Weights) -> torch.Tensor:
        """What a net of plain torch with those weights forecasts."""
        model = net()
        model.load_state_dict(weights)
        past = torch.rand((1, 2, 6, 6), generator=torch.Generator().manual_seed(77))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.case.what == "autocast"):
            return model.to(self.engine.dtype)(past.to(self.engine.dtype)).float()

    def holds_a_mean(self) -> bool:
        optimizer = self.engine._engine.optimizer
        return any("ema" in state for state in getattr(optimizer, "optimizer", optimizer).state.values())


def equal(ours: Weights, theirs: Weights) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def apart(ours: Weights, theirs: Weights) -> float:
    return max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours)


def follow(training: Training) -> dict[str, Any]:
    """Steps, one of which overflows, beside a recursion in float64 and beside a training that keeps no mean."""
    plain = Training(training.case, training.ranks, ema=False)
    expected = {name: w.double() for name, w in training.everywhere(weights_of(training.engine)).items()}
    deviations, forecasts, n, ours, theirs = [], [], 0, list[Any](), list[Any]()
    for number in range(STEPS):
        loss, stepped = training.step(float("inf") if number == OVERFLOW else 1.0)
        ours.append([loss, stepped.loss_scale, stepped.applied])
        if stepped.applied:
            n += 1
            decay = min(DECAY, (1 + n) / (10 + n))
            weights = training.everywhere(weights_of(training.engine))
            expected = {name: mean + (1 - decay) * (weights[name] - mean) for name, mean in expected.items()}
        deviations.append(apart(training.mean(), expected))
        with training.engine.averaged():
            forecast = training.forecast()
        forecasts.append(float((forecast - training.forecast_by(training.mean())).abs().max()))
        loss, stepped = plain.step(float("inf") if number == OVERFLOW else 1.0)
        theirs.append([loss, stepped.loss_scale, stepped.applied])
    weights = training.everywhere(weights_of(training.engine))
    return {
        "deviations": deviations,
        "forecasts": training.ranks.gather(max(forecasts)),
        "applied": [applied for _, _, applied in ours],
        "mean_and_weights": apart(training.mean(), weights),
        "as_without": ours == theirs and equal(weights, plain.everywhere(weights_of(plain.engine))),
        "in_the_model": training.ranks.gather(float((training.forecast() - training.forecast_by(weights)).abs().max())),
    }


def leave_by_an_exception(training: Training) -> dict[str, Any]:
    """Within the mean something is raised that all ranks raise; then something that they may not."""
    before, kept, seen = training.everywhere(weights_of(training.engine)), training.mean(), dict[str, Any]()
    for name, alike in (("alike", [KeyError]), ("alone", [])):
        try:
            with training.engine.averaged(*alike):
                within = training.everywhere(weights_of(training.engine))
                raise KeyError(name)
        except KeyError:
            after = training.everywhere(weights_of(training.engine))
        seen[name] = equal(within, kept) and equal(after, before)
        if alike:
            seen["model"] = float((training.forecast() - training.forecast_by(before)).abs().max())
    with training.engine.averaged():
        pass  # which mends the model
    return seen


def resume(training: Training, folder: Path) -> dict[str, Any]:
    """Saves, goes on; a new engine loads and goes on."""
    failure = training.engine.save(folder, "saved", {"nowcast": {}})
    saved, weights = training.mean(), weights_of(training.engine)
    if training.ranks.first:
        save_file(saved, folder / "mean.safetensors")
        save_file(weights, folder / "weights.safetensors")
    on = [training.step()[0] for _ in range(3)]
    again = Training(training.case, training.ranks)
    again.engine.load(folder, "saved")
    loaded = again.mean()
    return {
        "failure": failure,
        "loaded": equal(loaded, saved),
        "on": on == [again.step()[0] for _ in range(3)],
        "weights": apart(*(one.everywhere(weights_of(one.engine)) for one in (again, training))),
        "mean": apart(again.mean(), training.mean()),
        "moved_on": not equal(again.mean(), saved),
        "updates": [training.engine._ema._updates, again.engine._ema._updates],
    }


def move(saved: Case, case: Case, ranks: Ranks, folder: Path) -> dict[str, Any]:
    """A new engine, of another stage or of another number of ranks, loads what an engine of two ranks saved."""
    again = Training(case, ranks)
    again.engine.load(folder, "saved", again.engine.kind | {"ranks": 2, "ZeRO stage": saved.stage})
    loaded = again.mean()
    updates = again.engine._ema._updates
    again.step()
    weights = again.everywhere(weights_of(again.engine))
    expected = {name: mean + (1 - DECAY) * (weights[name].double() - mean) for name, mean in loaded.items()}
    return {
        "mean": equal(loaded, load_file(folder / "mean.safetensors")),
        "not_weights": not equal(loaded, load_file(folder / "weights.safetensors")),
        "updates": updates,
        "deviation": apart(again.mean(), expected),
    }


def turn(case: Case, ranks: Ranks, folder: Path) -> dict[str, Any]:
    """On where there was none, off where there was one, there and at another stage."""
    plain = Training(case, ranks, ema=False)
    for _ in range(2):
        plain.step()
    plain.engine.save(folder, "plain", {})
    before = plain.everywhere(weights_of(plain.engine))
    seen: dict[str, Any] = {}
    for name, other in (("there", case), ("moved", case._replace(stage=(case.stage + 1) % 4))):
        on, off = Training(other, ranks), Training(other, ranks, ema=False)
        on.engine.load(folder, "plain", plain.engine.kind)
        start = on.mean()
        on.step()
        weights = on.everywhere(weights_of(on.engine))
        expected = {key: mean.double() + 9 / 11 * (weights[key].double() - mean) for key, mean in before.items()}
        off.engine.load(folder, "saved", plain.engine.kind)
        off.engine.save(folder, f"off_{name}", {})
        seen[name] = {
            "starts_as_weights": equal(start, before),
            "deviation": apart(on.mean(), expected),
            "held": [on.holds_a_mean(), off.holds_a_mean()],
            "trains": off.step()[1].applied and not off.holds_a_mean(),
        }
    return seen


def on_two_ranks(ranks: Ranks, out: Path) -> dict[str, Any]:
    reports: dict[str, Any] = {}
    for case in CASES.values():
        training = Training(case, ranks)
        start = training.mean()
        reports[case.name] = {
            "begins_as_weights": equal(start, training.everywhere(weights_of(training.engine))),
            **follow(training),
            "exception": leave_by_an_exception(training),
            "resume": resume(training, out / case.name),
        }
    for saved, new in MOVES:
        reports[f"{saved} to {new}"] = move(CASES[saved], CASES[new], ranks, out / saved)
    for name in TURNED:
        reports[f"{name} turned"] = turn(CASES[name], ranks, out / name)
    return reports


def on_three_ranks(ranks: Ranks, out: Path) -> dict[str, Any]:
    return {f"{saved} to {new}": move(CASES[saved], CASES[new], ranks, out / saved) for saved, new in TO_THREE_RANKS}


def main(out: Path) -> None:
    ranks = process_group.join()
    torch.set_num_threads(1)
    # DeepSpeed refuses fp16 on a CPU without its instructions; torch computes it on any, slowly
    type(get_accelerator()).is_fp16_supported = lambda self: True
    reports = (on_two_ranks if ranks.world == 2 else on_three_ranks)(ranks, out)
    if ranks.first:
        (out / f"by{ranks.world}.json").write_text(json.dumps(reports))
    process_group.leave()


if __name__ == "__main__":
    main(Path(next(argument for argument in sys.argv[1:] if not argument.startswith("--local_rank"))))
    process_group.end_process(0)
