"""The folder of a training: what it takes, what it refuses, what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.errors import UserError
from data_prep.shards.index import open_shards
from ds_nowcast.config import Batch, RunConfig, load_config
from ds_nowcast.stream.order import OrderIdentity, identity
from ds_nowcast.training.run_folder import RunFolder, run_identity


class Launch:
    """What a launch knows of its run."""

    def __init__(self, config: RunConfig, shards: Path) -> None:
        opened = open_shards(shards)
        self.config, self.identity = config, run_identity(config, opened)
        self.order: OrderIdentity = identity(opened, config.nowcast.data, config.nowcast.seed)

    def check(self, path: Path, *, new_order: bool = False) -> None:
        RunFolder(path).check(self.identity, self.order, new_order=new_order)

    def batch(self, path: Path, ranks: int = 2) -> Batch:
        return RunFolder(path).batch(self.config, ranks)[0]

    def describe(self, path: Path, ranks: int = 2) -> None:
        folder = RunFolder(path)
        folder.describe(self.config, self.identity, self.order, *folder.batch(self.config, ranks))


@pytest.fixture
def started(config: Path, shards: Path) -> Callable[..., Launch]:
    """A launch with `--set` overrides."""
    return lambda *overrides: Launch(load_config(config, overrides), shards)


def test_a_new_an_empty_and_its_own_folder_are_taken(started: Callable[..., Launch], tmp_path: Path) -> None:
    launch = started()
    launch.check(tmp_path / "new")
    assert not (tmp_path / "new").exists(), "checking writes nothing"
    launch.check(tmp_path)
    launch.describe(tmp_path / "a/b")
    launch.check(tmp_path / "a/b")


def test_its_config_is_usable_again_and_means_the_same(started: Callable[..., Launch], tmp_path: Path) -> None:
    launch = started("nowcast.steps=33")
    launch.describe(tmp_path / "run")
    assert load_config(tmp_path / "run/config.json") == launch.config
    described = json.loads((tmp_path / "run/run.json").read_text())
    assert described["ranks"] == 2
    assert {"torch", "deepspeed", "webdataset", "python"} == described["versions"].keys()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("nowcast.model.width=16", "is the run of another model or data (model: "),
        ("nowcast.data.output_frames=2", "(output_frames: 3 -> 2)"),
    ],
)
def test_the_run_of_another_model_is_refused(
    override: str, told: str, started: Callable[..., Launch], tmp_path: Path
) -> None:
    started().describe(tmp_path / "run")
    with pytest.raises(UserError) as caught:
        started(override).check(tmp_path / "run", new_order=True)
    assert told in str(caught.value)


def test_an_option_written_out_with_its_default_is_no_other_model(
    started: Callable[..., Launch], tmp_path: Path
) -> None:
    started().describe(tmp_path / "run")
    started("nowcast.model.groups=8").check(tmp_path / "run")


def test_another_order_of_samples_is_refused_unless_it_is_wanted(
    started: Callable[..., Launch], tmp_path: Path
) -> None:
    started().describe(tmp_path / "run")
    for override in ("nowcast.seed=4", "nowcast.data.shuffle_shards=2", "nowcast.data.window_stride=2"):
        other = started(override)
        with pytest.raises(UserError, match=rf"{override.split('.')[-1].split('=')[0]}: .* or --new-order"):
            other.check(tmp_path / "run")
        other.check(tmp_path / "run", new_order=True)
    other = started()
    other.order = replace(other.order, index_hash="0" * 64)
    with pytest.raises(UserError, match="index_hash"):
        other.check(tmp_path / "run")


@pytest.mark.parametrize("steps", [3, 5000])
def test_what_may_change_between_launches_is_taken(steps: int, started: Callable[..., Launch], tmp_path: Path) -> None:
    started().describe(tmp_path / "run")
    started(f"nowcast.steps={steps}", "nowcast.log_every=7", "zero_optimization.stage=1").check(tmp_path / "run")


def test_what_others_left_hidden_in_an_empty_folder_does_not_matter(
    started: Callable[..., Launch], tmp_path: Path
) -> None:
    for name in (".lock", ".nfs000000000", ".snapshot/hourly"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    started().check(tmp_path)


def a_file(path: Path) -> None:
    path.write_text("a file")


def something_else(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("")
    (path / ".lock").touch()


def half_a_description(path: Path) -> None:
    path.mkdir()
    (path / "run.json").write_text('{"model"')


def a_description_of_nothing(path: Path) -> None:
    path.mkdir()
    (path / "run.json").write_text("[]")


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (a_file, "exists and is not a run folder"),
        (something_else, "exists and is not a run folder"),
        (half_a_description, "run.json cannot be read"),
        (a_description_of_nothing, "run.json cannot be read"),
    ],
)
def test_something_else_is_refused(
    made: Callable[[Path], None], told: str, started: Callable[..., Launch], tmp_path: Path
) -> None:
    made(tmp_path / "run")
    with pytest.raises(UserError) as caught:
        started().check(tmp_path / "run")
    assert told in str(caught.value)


@pytest.mark.parametrize("path", ["file/run", "/proc/run"])
def test_a_folder_that_cannot_be_written_is_told(path: str, started: Callable[..., Launch], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"run folder .* cannot be written \(.+\); give a folder that can"):
        started().describe(tmp_path / path)


def a_checkpoint(path: Path) -> None:
    (path / "checkpoints/step_00000005").mkdir(parents=True)
    (path / "checkpoints/step_00000005/manifest.json").write_text("{}")


def test_the_first_launch_fixes_the_samples_of_a_step(started: Callable[..., Launch], tmp_path: Path) -> None:
    run = tmp_path / "run"
    started().describe(run)
    a_checkpoint(run)
    for ranks, batch in ((1, Batch(4, 2, 2, 1)), (4, Batch(4, 1, 1, 4)), (2, Batch(4, 2, 1, 2))):
        assert started().batch(run, ranks) == batch
        started().describe(run, ranks)
        described = json.loads((run / "run.json").read_text())
        assert described["ranks"] == ranks
        assert described["batch"] == batch._asdict()
        assert described["batch_asked"] == Batch(4, 2, 1, 2)._asdict()
    with pytest.raises(
        UserError, match=r"4 samples a step, which do not divide over 3 ranks; give .* divides it: 1, 2, 4"
    ):
        started().batch(run, 3)
    assert started("gradient_accumulation_steps=2").batch(run) == Batch(4, 1, 2, 2)
    with pytest.raises(UserError, match="was trained with 4 samples a step and this launch has 8; keep the batch size"):
        started("train_batch_size=8").batch(run)


def test_the_samples_of_a_step_are_free_until_a_checkpoint_is_saved(
    started: Callable[..., Launch], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    started().describe(run)
    assert started("train_batch_size=8").batch(run).total == 8


def test_checkpoints_that_cannot_be_looked_at_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path)
    assert not run.has_checkpoints
    a_checkpoint(tmp_path)
    assert run.has_checkpoints

    def broken(path: Path) -> None:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(Path, "iterdir", broken)
    with pytest.raises(
        UserError, match=r"checkpoints cannot be read \(Input/output error\); run the same command again"
    ):
        _ = run.has_checkpoints


def test_a_run_of_an_earlier_version_has_the_config_s_samples(started: Callable[..., Launch], tmp_path: Path) -> None:
    run = tmp_path / "run"
    started().describe(run)
    (run / "run.json").write_text('{"ranks": 2}')
    assert started().batch(run) == Batch(4, 2, 1, 2)


def test_what_makes_scores_incomparable_is_told(started: Callable[..., Launch], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert RunFolder(run).changes(started().config) == []
    started().describe(run)
    assert RunFolder(run).changes(started("nowcast.steps=99", "nowcast.log_every=3").config) == []
    changed = started('nowcast.loss.weights={"mae":1.0}', "nowcast.data.augment.flip=true", "nowcast.ema.decay=0.9")
    loss, ema, augment = RunFolder(run).changes(changed.config)
    assert loss.startswith("nowcast.loss: {'weights': ")
    assert loss.endswith("-> {'weights': {'mae': 1.0}, 'options': {}}")
    assert ema == "nowcast.ema: None -> {'decay': 0.9}"
    assert augment.startswith("nowcast.data.augment: {'flip': False")
    (run / "config.json").write_text("{")
    assert RunFolder(run).changes(changed.config) == []
