"""One optimizer step: the global mean of a masked loss over all ranks and micro-batches, whatever their valid pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ds_nowcast.config import Batch, NowcastKeys
from ds_nowcast.engine import Engine, Stepped
from ds_nowcast.errors import DivergedError
from ds_nowcast.losses import LossSetting, build_loss
from ds_nowcast.model_space import ModelSpace
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream import augment
from ds_nowcast.stream.pipeline import StepCodes
from ds_nowcast.stream.windows import Sample

_NAMED = 8  # samples named in an error


@dataclass(frozen=True)
class StepResult:
    """What became of a step."""

    loss_sum: torch.Tensor  # this rank's part of the mean loss, on the device; sums to the mean over ranks
    valid: int  # target pixels that counted, over all ranks
    stepped: Stepped | None  # None where no pixel was valid and nothing was done


class TrainingStep:
    """Forward, loss and backward of a rank's share of an optimizer step."""

    def __init__(self, engine: Engine, keys: NowcastKeys, space: ModelSpace, batch: Batch, ranks: Ranks) -> None:
        self._engine, self._space, self._batch, self._ranks = engine, space, batch, ranks
        self._augment, self._seed = keys.data.augment, keys.seed
        self._weighted_sum = build_loss(keys.loss, LossSetting(space.encoding, keys.steps, keys.seed))
        self._missing, self._input_frames = space.missing, keys.data.input_frames

    def prepare(self, batch: StepCodes) -> tuple[torch.Tensor, int]:
        """The rank's codes on the device, augmented, (B, T, H, W), and how many target pixels of them are valid."""
        codes_BTHW = batch.codes_BTHW.to(self._ranks.device, non_blocking=True)
        positions = torch.tensor(batch.positions)
        codes_BTHW = augment.apply(
            codes_BTHW, augment.draw(self._seed, positions, (codes_BTHW.shape[-2], codes_BTHW.shape[-1]), self._augment)
        )
        return codes_BTHW, int((codes_BTHW[:, self._input_frames :] < self._missing).sum())

    def run(self, batch: StepCodes, codes_BTHW: torch.Tensor, valid: int) -> StepResult:
        """Makes the step. valid: of all ranks. Raises DivergedError, on all ranks, before a non-finite loss moves a weight."""
        if valid == 0:
            self._engine.pass_over()
            return StepResult(torch.zeros((), device=self._ranks.device), 0, None)
        stepped, losses = None, list[torch.Tensor]()
        for micro_BTHW in torch.split(codes_BTHW, self._batch.micro):
            loss = self._loss(micro_BTHW) / valid
            losses.append(loss.detach())
            # DeepSpeed divides by both: this leaves the sum over ranks and micro-batches
            self._engine.backward(loss * self._batch.ranks * self._batch.accumulation)
            if len(losses) == self._batch.accumulation:
                self._check(torch.stack(losses), batch)  # once a step: to ask is to wait for the device
            stepped = self._engine.step()
        assert stepped is not None
        return StepResult(torch.stack(losses).sum(), valid, stepped)

    def _loss(self, codes_BTHW: torch.Tensor) -> torch.Tensor:
        """The weighted losses, summed over valid pixels."""
        w = self._space.windows(codes_BTHW)
        prediction_BTHW = self._engine(w.past_BTHW)
        return self._weighted_sum(prediction_BTHW, w.target_BTHW, w.valid_BTHW.float(), self._engine.steps)

    def _check(self, losses: torch.Tensor, batch: StepCodes) -> None:
        """losses: of the micro-batches. Raises DivergedError, on all ranks, where one of any rank's is not finite."""
        broken = (~torch.isfinite(losses)).nonzero().flatten().tolist()
        if not self._ranks.any(bool(broken)):
            return
        micro = self._batch.micro
        samples = [sample for n in broken for sample in batch.samples[n * micro : (n + 1) * micro]]
        parts = self._ranks.gather(names_of(samples))
        raise DivergedError(
            f"the loss is not finite in step {self._engine.steps + 1}, in samples {shortened(by_rank(parts))}; lower the learning "
            "rate or state gradient_clipping, and run the same command again to go on from the last checkpoint"
        ).at(next(rank for rank, part in enumerate(parts) if part))


def names_of(samples: Sequence[Sample]) -> list[str]:
    """How samples are called in messages."""
    return [f"{s.shard} {s.key} from frame {s.start}" for s in samples]


def by_rank(parts: Sequence[Sequence[str]]) -> list[str]:
    """The ranks' lists as one, in which each name says whose it is."""
    return [f"rank {rank}: {name}" for rank, part in enumerate(parts) for name in part]


def shortened(names: Sequence[str]) -> str:
    """The first few of many names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return "; ".join(names[:_NAMED]) + more
