"""The command: what is refused before anything is launched, and what goes on."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from ds_nowcast import tune
from ds_nowcast.config import load_config
from ds_nowcast.measuring.launching import Job
from ds_nowcast.measuring.outcomes import Outcome
from ds_nowcast.tuning.speed import Speed
from tests.ds_nowcast.conftest import TINY
from tests.ds_nowcast.tuning.landscape import START, Landscape

pytestmark = pytest.mark.slow  # seconds in all, of searches and processes


def words(config: Path, shards: Path, out: Path, *more: str) -> list[str]:
    """The command line of a search at two ranks with a limit of 40 GB."""
    return [
        "--deepspeed_config", str(config), "--shards", str(shards), "--out", str(out), "--ranks", "2", "--set", *START,
        "--device", "cpu", *more,
    ]  # fmt: skip


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Landscape:
    """In the place of launches."""
    landscape = Landscape()
    monkeypatch.setattr(tune, "Speed", partial(Speed, measure=landscape))
    return landscape


SPACES: list[tuple[str, str]] = [
    ("{", "is not JSON"),
    ("[1]", "is no space; give an object"),
    ("{}", "is no space"),
    ('{"zero_optimization.stage": 2}', "zero_optimization.stage is 2; give a list of its values"),
    ('{"zero_optimization.stage": [1, 1]}', "zero_optimization.stage has 1 twice"),
    ('{"zero_optimization.stage": [1], "zero_optimization.stage": [2]}', "occurs twice"),
    (
        '{"nowcast.model.width": [8]}',
        "change what is trained, give them with --set, or try them with --objective val_csi",
    ),
    ('{"train_batch_size": [8]}', "train_batch_size is none of what is tried for speed"),
    ('{"zero_optimisation": [{"stage": 1}]}', "did you mean zero_optimization?"),
    ('{"zero_optimization.stagge": [1]}', "unknown key 'zero_optimization.stagge'"),
    ('{"nowcast.model.norm": ["wide"]}', "norm is"),
    ('{"nowcast.compute.compile": ["yes"]}', 'nowcast.compute.compile is "yes"; give true or false'),
    ('{"zero_optimization": [{"stage": 1}], "zero_optimization.stage": [2]}', "is within zero_optimization"),
    ('{"zero_optimization.stage": [2]}', "there is nothing to try"),
]


@pytest.mark.parametrize(("space", "says"), SPACES)
def test_a_space_that_cannot_be_used_is_refused_by_name_before_anything_is_launched(
    space: str,
    says: str,
    config: Path,
    shards: Path,
    tmp_path: Path,
    fake: Landscape,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "space.json").write_text(space)
    code = tune.main(words(config, shards, tmp_path / "t.json", "--space", str(tmp_path / "space.json")))
    assert code == 2 and says in capsys.readouterr().err
    assert fake.launches == [] and sorted(path.name for path in tmp_path.iterdir()) == ["space.json"]


WRONG = [
    (["--memory-limit", "1", "--objective", "val_csi"], "--memory-limit is of samples_per_s"),
    (["--objective", "val_csi", "--steps", "13"], "--steps 13 is more than nowcast.steps 12"),
    (["--ranks", "3"], "train_batch_size=64 does not divide over 3 ranks"),
    (["--hostfile", "nowhere"], "hostfile nowhere cannot be read"),
    (["--space", "nowhere"], "--space nowhere cannot be read"),
]


@pytest.mark.parametrize(("more", "says"), WRONG)
def test_options_that_do_not_go_together_are_refused(
    more: list[str], says: str, config: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.main(words(config, shards, tmp_path / "t.json", *more)) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_result_is_the_users_file_with_what_was_chosen_and_a_table_says_why(
    config: Path, shards: Path, tmp_path: Path, fake: Landscape
) -> None:
    out = tmp_path / "tuned.json"
    assert tune.main(words(config, shards, out, "--trials", "12", "--memory-limit", "40")) == 0
    tuned, start = load_config(out), load_config(config, START)
    assert tuned.batch(2).total == 64 and tuned.batch(2).micro > start.batch(2).micro
    assert json.loads(out.read_text())["nowcast"]["model"] == TINY["nowcast"]["model"]
    table = out.with_suffix(".md").read_text()
    assert "`train_micro_batch_size_per_gpu` | `2` |" in table
    assert re.search(r"\*\*[\d.]+ -> [\d.]+ samples/s, x [\d.]+ \(x [\d.]+ to x [\d.]+ in 3 turns\)\.\*\*", table)
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_editors_find_the_schema_from_the_results_place_too(
    config: Path, shards: Path, tmp_path: Path, fake: Landscape
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "tuned").mkdir()
    mine, schema = tmp_path / "mine/config.json", tmp_path / "mine/schema.json"
    schema.write_text("{}")
    for given, written in (("schema.json", "../mine/schema.json"), ("https://x/schema.json", "https://x/schema.json")):
        mine.write_text(json.dumps({"$schema": given, **json.loads(config.read_text())}))
        out = tmp_path / "tuned/tuned.json"
        assert tune.main(words(mine, shards, out, "--trials", "1", "--memory-limit", "40", "--anew")) == 0
        assert json.loads(out.read_text())["$schema"] == written


def test_the_same_command_goes_on_and_another_is_refused_by_what_differs_or_begun_anew_by_name(
    config: Path, shards: Path, tmp_path: Path, fake: Landscape, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tuned.json"
    again = words(config, shards, out, "--trials", "5", "--turns", "1", "--memory-limit", "40")
    assert tune.main(again) == 0
    launches, first = len(fake.launches), out.read_bytes()
    assert tune.main(again) == 0
    assert len(fake.launches) == launches and out.read_bytes() == first
    other = [*again, "--set", "nowcast.compute.channels_last=true"]
    capsys.readouterr()
    assert tune.main(other) == 2
    told = capsys.readouterr().err
    assert "config.nowcast.compute.channels_last: false -> true" in told and "--anew" in told
    assert tune.main([*other, "--anew"]) == 0
    assert len(fake.launches) > launches and (tmp_path / "tuned.trials.1" / "0001" / "outcome.json").is_file()
    (tmp_path / "tuned.trials" / "search.json").write_text("{")
    assert tune.main(other) == 2 and "--anew" in capsys.readouterr().err
    assert tune.main([*other, "--anew"]) == 0  # as it says
    assert (tmp_path / "tuned.trials.2" / "search.json").read_text() == "{"


def test_ranks_run_where_device_says_and_a_file_that_changes_meanwhile_changes_nothing(
    config: Path, shards: Path, tmp_path: Path, fake: Landscape
) -> None:
    mine = tmp_path / "mine.json"
    mine.write_bytes(config.read_bytes())

    def measure(job: Job, folder: Path, timeout_s: float) -> Outcome:
        assert job.environment == {"DS_ACCELERATOR": "cpu"}
        mine.write_text("{")
        return fake(job, folder, timeout_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "Speed", partial(Speed, measure=measure))
        out = tmp_path / "tuned.json"
        assert tune.main(words(mine, shards, out, "--trials", "4", "--turns", "1", "--memory-limit", "40")) == 0
    assert load_config(out).batch(2).total == 64


def test_nothing_is_written_where_nothing_could_be_measured(
    config: Path, shards: Path, tmp_path: Path, fake: Landscape, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.device = 1.0
    out = tmp_path / "tuned.json"
    assert tune.main(words(config, shards, out, "--trials", "4")) == 2
    assert "no trial could be measured: CUDA out of memory" in capsys.readouterr().err
    assert not out.exists()


# Real launches
