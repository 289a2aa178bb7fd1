"""Trains a CNN on shards: `deepspeed --hostfile hostfile --module ds_nowcast.train ...`. The same command resumes."""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from data_prep.console import positive
from data_prep.errors import DataError, ExpectedError, SourceError, UserError
from data_prep.shards.index import Shards
from ds_nowcast import ranks as process_group
from ds_nowcast.config import Batch, RunConfig, load_config
from ds_nowcast.config.overrides import add_set_option
from ds_nowcast.engine import Engine
from ds_nowcast.errors import STOPPED, DivergedError, NotStartedError
from ds_nowcast.exported import card_of, write_weights
from ds_nowcast.launch.ending import Launch, ends_as_a_rank, parser
from ds_nowcast.launch.environment import environment_world
from ds_nowcast.model_space import ModelSpace, thresholds_of
from ds_nowcast.ranks import Ranks, end_process
from ds_nowcast.scoring.evaluation import Evaluation, StoppedError, comparison, headline, selected
from ds_nowcast.stream.pipeline import CodeStream, StepCodes, padding
from ds_nowcast.stream.windows import Sample, open_for
from ds_nowcast.training.agreement import check_alike, check_shared
from ds_nowcast.training.checkpoints import Checkpoints
from ds_nowcast.training.damage import note_damage
from ds_nowcast.training.display import Display
from ds_nowcast.training.meters import Meters
from ds_nowcast.training.parts import samples_of, start_engine
from ds_nowcast.training.run_folder import Metrics, RunFolder, saving
from ds_nowcast.training.sample_log import SampleLog
from ds_nowcast.training.start import FirstModel, check_start
from ds_nowcast.training.step import StepResult, TrainingStep, by_rank, names_of, shortened
from ds_nowcast.training.stop import StopRequest

EXAMPLE = (
    "deepspeed --hostfile hostfile --module ds_nowcast.train --deepspeed_config ds_configs/unet_zero2_bf16.json \\\n"
    "      --shards shards/sevir --run runs/unet"
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = parser("ds_nowcast.train", "Train a nowcasting CNN; the same command resumes.", EXAMPLE)
    options.add_argument(
        "--deepspeed_config", required=True, metavar="FILE", help="JSON: DeepSpeed's keys and a nowcast section"
    )
    options.add_argument("--shards", required=True, metavar="DIR", help="folder that `python -m data_prep build` made")
    options.add_argument("--run", required=True, metavar="DIR", help="run folder, new or to be resumed")
    add_set_option(options, "override settings, such as nowcast.steps=500")
    options.add_argument("--seed", type=int, help="instead of nowcast.seed")
    options.add_argument(
        "--init-from", metavar="FILE", type=Path, help="start a new run from these .safetensors weights"
    )
    options.add_argument("--new-order", action="store_true", help="resume although the order of samples has changed")
    options.add_argument(
        "--until", type=positive, metavar="STEP", help="end at this step, saved; the same command without it goes on"
    )
    return ends_as_a_rank(lambda launch: train(options.parse_args(argv), launch))


def train(args: argparse.Namespace, launch: Launch) -> int:
    """Runs a training to its end, or to a signal. Returns the exit code; raises ExpectedError."""
    overrides = [*args.set, *([] if args.seed is None else [f"nowcast.seed={args.seed}"])]
    config, run = load_config(args.deepspeed_config, overrides), RunFolder(args.run)
    shards = open_for(args.shards, config.nowcast.data)
    start = check_start(config, shards, run, environment_world(), new_order=args.new_order)
    batch = start.batch
    first = FirstModel(config, run, args.init_from)

    launch.patience(config.nowcast.heartbeat_timeout_s)
    launch.record = run.fail
    with StopRequest(launch) as stop:
        ranks = process_group.join(launch.store, always=True)
        torch.set_num_threads(ranks.threads)
        check_shared(run.path, ranks)
        check_alike(ranks, config, shards, batch)
        ranks.on_first(run.lock_if_there)
        run.begin()
        with Display(config.nowcast.steps, speaks=ranks.first, quiet=args.quiet) as display:
            engine = built(lambda: start_engine(first, config, batch, ranks), stop)
            display.say(
                f"{ranks.world} ranks on {ranks.device.type}, {ranks.threads} threads each; {first.parameters:,} parameters; {batch}"
            )
            if rates := config.rates(batch).told:
                display.say(f"learning rate {rates}")
            for caution in config.cautions(batch):
                display.warn(caution)
            training = Training(config, shards, run, ranks, batch, engine, display, first.parameters)
            ranks.on_first(run.lock)
            run.begin()
            launch.logs_in(run.logs)
            training.resume()
            ranks.on_first(lambda: run.describe(config, start.run, start.order, batch, start.asked))
            return training.run(stop, args.until)


def built(build: Callable[[], Engine], stop: StopRequest) -> Engine:
    """An engine. Raises NotStartedError where a signal ended the compilation of an operator, which gets it too."""
    try:
        return build()
    except UserError:
        if stop.reason is None:
            raise
        raise NotStartedError(
            f"stopped by {stop.reason} before the first step; the same command starts again"
        ) from None


class Training:
    """The loop, and what it does now and then."""

    def __init__(
        self,
        config: RunConfig,
        shards: Shards,
        run: RunFolder,
        ranks: Ranks,
        batch: Batch,
        engine: Engine,
        display: Display,
        parameters: int,
    ) -> None:
        self.keys, self.config, self.shards, self.run_folder = config.nowcast, config, shards, run
        self.ranks, self.batch, self.engine, self.display, self.parameters = ranks, batch, engine, display, parameters
        self.checkpoints = Checkpoints(run.checkpoints, self.keys.checkpoint.keep, ranks)
        thresholds = thresholds_of(shards.index.codes, shards.index.unit, self.keys.evaluation.thresholds)
        evaluation = self.keys.evaluation
        self.evaluation = Evaluation(
            shards, evaluation.split, self.keys.data, thresholds, ranks,
            micro_batch=evaluation.micro_batch, max_windows=evaluation.max_windows,
        )  # fmt: skip
        # What a resume must know beside the engine's own state; it travels in every checkpoint.
        self.state: dict[str, Any] = {
            "best": None, "evaluated": 0, "bad_samples": {}, "skipped": 0, "skipped_in_a_row": 0,
        }  # fmt: skip
        self.saved = 0

    def run(self, stop: StopRequest, until: int | None = None) -> int:
        """To the last step, or to step `until`. Returns 0, or 75 where a signal stopped it and the state was saved."""
        engine, keys, ranks = self.engine, self.keys, self.ranks
        space = ModelSpace(self.shards.index.codes, keys.data.input_frames, ranks.device)
        step = TrainingStep(engine, keys, space, self.batch, ranks)
        meters = Meters(self.batch, ranks)
        self.display.begin(engine.steps)
        with self.stream() as stream, self.sample_log() as seen:
            while True:
                if engine.steps > self.state["evaluated"] and self.due(keys.evaluation.every):
                    meters.pause(lambda: self.evaluate_or_save(stop))
                if engine.steps > self.saved and self.due(keys.checkpoint.every):
                    meters.pause(self.save)
                if min(engine.steps, self.state["evaluated"]) >= keys.steps:
                    break
                if until is not None and engine.steps >= until:
                    return self.paused()

                batch, failure = meters.waiting(lambda: self.next_of(stream))
                failure = failure or (seen and seen.failure) or None
                codes_BTHW, valid = step.prepare(batch)
                totals = ranks.sum([valid, len(batch.bad), stop.reason is not None, failure is not None])
                if totals[3]:
                    self.end_for(failure)
                if totals[2]:
                    return self.stopped(stop)
                self.account_for_bad(batch.bad, int(totals[1]))
                result = step.run(batch, codes_BTHW, int(totals[0]))
                self.count_skipped(result, batch)
                meters.add(result)
                if seen is not None:
                    seen.add(batch.samples)
                if engine.steps % keys.log_every == 0 or engine.steps == keys.steps:
                    self.log(meters.take(engine.steps, engine.samples, self.state["skipped"]))
        self.export_last()
        return 0

    def due(self, every: int) -> bool:
        """Whether something done every so many steps, and at the end, is due now."""
        return self.engine.steps % every == 0 or self.engine.steps >= self.keys.steps

    def stream(self) -> CodeStream:
        """This rank's samples from where the engine stands."""
        return samples_of(self.shards, self.keys, self.batch, self.ranks, self.engine.samples)

    def sample_log(self) -> SampleLog | nullcontext[None]:
        """Where each step's samples are written down, if the config asks for it."""
        if not self.keys.log_samples:
            return nullcontext()
        with saving(self.run_folder.samples):
            return SampleLog(self.run_folder.samples, self.batch, self.ranks, self.keys.data.window, self.engine.steps)

    def next_of(self, stream: CodeStream) -> tuple[StepCodes, ExpectedError | None]:
        """The rank's next samples; or none, and why: what ends one rank alone would leave the others waiting."""
        try:
            return next(stream), None
        except ExpectedError as error:
            return padding(self.shards, self.keys.data, 1), error

    def end_for(self, failure: ExpectedError | None) -> None:
        """Saves, and raises DataError on all ranks: some rank's samples cannot be had, or noted, any more."""
        reasons = self.ranks.reasons(None if failure is None else str(failure))
        if self.engine.steps > self.saved:
            self.save()
        self.shards.source.close()  # ends what is still being tried
        reached = f"saved at step {self.saved}" if self.saved else "no step was made"
        told = "; ".join(sorted(set(reasons.values())))
        raise DataError(f"{told}; {reached}, the same command goes on").at(min(reasons))

    def resume(self) -> None:
        """Goes on from the newest whole checkpoint, if there is one, whatever number of ranks and ZeRO stage saved it."""
        saved = self.checkpoints.newest(self.engine, self.display.warn)
        if saved is not None:
            self.state = self.engine.load(self.run_folder.checkpoints, saved.tag, saved.saved_with)["nowcast"]
            self.saved = self.engine.steps
            if self.engine.samples != self.engine.steps * self.batch.total:
                raise UserError(
                    f"{self.run_folder.path} was trained with {self.engine.samples // max(self.engine.steps, 1)} samples a step and this "
                    f"launch has {self.batch.total}; keep the batch size of its config.json, or give a new --run folder"
                )
            moved = f"{saved}; now {self.batch} at ZeRO {self.engine.kind['ZeRO stage']}"
            self.display.say(
                f"resuming at step {self.engine.steps} from {saved.tag if saved.fits(self.engine) else moved}"
            )
            if changes := self.ranks.on_first(lambda: self.run_folder.changes(self.config)):
                self.display.say(f"changed since the last launch: {'; '.join(changes)}")
        with saving(self.run_folder.metrics):
            self.metrics = self.ranks.on_first(lambda: Metrics(self.run_folder.metrics, self.engine.steps))

    def evaluate_or_save(self, stop: StopRequest) -> None:
        """`evaluate`; what has been trained is saved where a rank cannot get at the samples any more."""
        try:
            with self.engine.averaged(StoppedError, SourceError):
                self.evaluate(stop)
        except SourceError as error:  # on all ranks
            self.end_for(error)
        except StoppedError:  # on all ranks: the loop sees to it, and the next launch evaluates
            self.engine.train(True)

    def evaluate(self, stop: StopRequest) -> None:
        """Scores the evaluation split; exports the weights where they are the best so far."""
        engine, select = self.engine, self.keys.evaluation.select
        engine.train(False)
        scored = self.evaluation.run(engine, stops=lambda: stop.reason is not None)
        engine.train(True)
        self.account_for_bad(scored.bad if self.ranks.first else [], len(scored.bad))
        score, self.state["evaluated"] = selected(scored.model, select), engine.steps
        best = self.state["best"]
        if best is None or score > best["score"]:
            self.state["best"] = {"score": score, "step": engine.steps}
            self.export(
                "model.safetensors",
                {"split": self.keys.evaluation.split, "windows": scored.windows, **headline(scored.model)},
            )
        told = {"model": headline(scored.model), "persistence": headline(scored.persistence)}
        self.measure(
            step=engine.steps, evaluation={"split": self.keys.evaluation.split, "windows": scored.windows, **told}
        )
        self.display.say(
            f"step {engine.steps}: {self.keys.evaluation.split} " + comparison(scored.model, scored.persistence)
        )

    def save(self) -> None:
        """Saves a checkpoint of the present step."""
        best = self.state["best"]
        self.checkpoints.save(self.engine, {"nowcast": self.state}, best and best["step"])
        self.saved = self.engine.steps

    def paused(self) -> int:
        """Saves at the step that the command line asked for, and says how to go on."""
        if self.engine.steps > self.saved:
            self.save()
        self.display.say(f"step {self.engine.steps}, as --until asked; saved, the same command without it goes on")
        return 0

    def stopped(self, stop: StopRequest) -> int:
        """Saves, as all ranks agreed, and says how to go on."""
        if self.engine.steps > self.saved:
            self.save()
        self.shards.source.close()  # reads under way must not delay the end
        reasons = sorted(set(self.ranks.reasons(stop.reason).values()))
        self.display.say(
            f"stopped at step {self.engine.steps} by {', '.join(reasons)}; saved, the same command goes on"
        )
        return STOPPED

    def account_for_bad(self, samples: list[Sample], count: int) -> None:
        """Names samples that cannot be read. count: of all ranks. Raises DataError on all past data.max_bad_samples."""
        if count:
            most, where = self.keys.data.max_bad_samples, self.shards.source.location
            note_damage(self.state["bad_samples"], samples, most, where, self.ranks, self.display.warn)

    def count_skipped(self, result: StepResult, batch: StepCodes) -> None:
        """Counts steps skipped in a row and names their samples. Raises DivergedError, on all ranks, past the stated number."""
        if result.stepped is None or result.stepped.applied:
            self.state["skipped_in_a_row"] = 0
            return
        self.state["skipped"] += 1
        self.state["skipped_in_a_row"] += 1
        step, scale = self.engine.steps, result.stepped.loss_scale
        samples = by_rank(self.ranks.gather(names_of(batch.samples)))
        self.measure(step=step, overflow={"loss_scale": scale, "samples": samples})
        told = f"step {step}: gradients overflowed, no update; the loss scale is now {scale:g}; samples {shortened(samples)}"
        self.display.warn(told)
        if self.state["skipped_in_a_row"] > self.keys.max_skipped_steps:
            raise DivergedError(
                f"{self.state['skipped_in_a_row']} optimizer steps in a row were skipped for overflowing gradients, more than "
                f"nowcast.max_skipped_steps={self.keys.max_skipped_steps}, the last with samples {shortened(samples)}; "
                "lower the learning rate, or train in bf16 or fp32"
            )

    def log(self, values: dict[str, float]) -> None:
        """A line of metrics, the display, the monitors."""
        self.engine.monitor(values)
        self.display.step(self.engine.steps, Meters.shown(values))
        self.measure(**values)

    def measure(self, **values: Any) -> None:
        """A line of metrics.jsonl. Every rank must call; SaveError on all where it cannot be written."""
        with saving(self.run_folder.metrics):
            self.ranks.on_first(lambda: self.metrics.add(**values))

    def export(self, name: str, scores: dict[str, Any]) -> None:
        """Writes the full weights and their card. Every rank must call."""
        weights, path = self.engine.weights(), self.run_folder.path / name
        layout = self.engine.layout()
        card = card_of(self.config, self.shards, self.parameters, self.engine.steps, scores)
        with saving(path):
            self.ranks.on_first(lambda: write_weights(path, layout, weights, card), others=lambda: deque(weights, 0))

    def export_last(self) -> None:
        """The last step's weights, beside the best ones."""
        started = time.monotonic()
        with self.engine.averaged():
            self.export("last.safetensors", {})
        best = self.state["best"]
        self.display.say(
            f"done: best step {best['step']} in {self.run_folder.path / 'model.safetensors'} ({time.monotonic() - started:.1f} s to export)"
        )


if __name__ == "__main__":
    end_process(main())
