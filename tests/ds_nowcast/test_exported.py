"""A model on disk: read back as it was, and refused in one sentence where it is damaged or another's."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_prep.errors import UserError
from ds_nowcast.exported import ModelCard, open_model, write_weights
from tests.ds_nowcast.made_model import made_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, config: Path, shards: Path) -> Path:
    """A run folder with a model."""
    folder = tmp_path_factory.mktemp("made") / "run"
    made_run(folder, config, shards, ["nowcast.model.residual=false"])
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def change_card(run: Path, **changes: Any) -> None:
    card = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(card | changes))


def refusal(run: Path | None, model: Path | None = None) -> str:
    with pytest.raises(UserError) as raised:
        open_model(run, model, CPU)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_a_model_is_read_back_as_it_was_written(run: Path) -> None:
    model, card = open_model(run, None, CPU)
    saved = load_file(run / "model.safetensors")
    assert {name: torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items()} == dict.fromkeys(
        saved, True
    )
    assert not model.training
    assert (card.input_frames, card.output_frames, card.shape, card.step) == (4, 3, (32, 32), 7)
    assert card.parameters == sum(tensor.numel() for tensor in saved.values())
    assert ModelCard.model_validate_json(card.to_json()) == card


def test_a_file_of_weights_elsewhere_is_a_model_too_and_needs_no_run_folder(run: Path, tmp_path: Path) -> None:
    for ending in ("safetensors", "json"):
        shutil.copy(run / f"model.{ending}", tmp_path / f"other.{ending}")
    of_run, of_file = open_model(run, None, CPU), open_model(None, tmp_path / "other.safetensors", CPU)
    past_BTHW = torch.rand(1, 4, 32, 32)
    assert torch.equal(of_run[0](past_BTHW), of_file[0](past_BTHW))
    assert of_run[1] == of_file[1]


def test_a_crop_while_training_is_the_size_the_model_is_for(config: Path, shards: Path, tmp_path: Path) -> None:
    card = made_run(tmp_path / "run", config, shards, ["nowcast.data.augment.crop=16"])
    assert card.shape == (16, 16)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path} is not a run folder" in refusal(tmp_path)


def test_a_run_without_model_yet_is_refused(run: Path) -> None:
    (run / "model.safetensors").unlink()
    message = refusal(run)
    assert str(run / "model.safetensors") in message and "writes it when it first evaluates" in message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    message = refusal(None, tmp_path / "none.safetensors")
    assert "none.safetensors does not exist; give a .safetensors file" in message


def drop_card(run: Path) -> None:
    (run / "model.json").unlink()


def cut_card(run: Path) -> None:
    (run / "model.json").write_bytes((run / "model.json").read_bytes()[:150])


def garble_card(run: Path) -> None:
    (run / "model.json").write_bytes(b"\xff\xfe\x00")


def folder_for_card(run: Path) -> None:
    drop_card(run)
    (run / "model.json").mkdir()


def lose_index_hash(run: Path) -> None:
    change_card(run, trained_on={"archive": "made", "split": "train", "chosen_on": "val"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_card, "model.json cannot be read (No such file or directory)"),
        (folder_for_card, "model.json cannot be read (Is a directory)"),
        (cut_card, "model.json is damaged: the file: Invalid JSON"),
        (garble_card, "model.json is damaged"),
        (lose_index_hash, "model.json is damaged: trained_on.index_hash: Field required"),
        (lambda run: change_card(run, input_frames="many"), "model.json is damaged: input_frames"),
        (lambda run: change_card(run, input_frames=0), "model.json is damaged: input_frames"),
        (lambda run: change_card(run, surprise=1), "model.json is damaged: surprise"),
        (lambda run: change_card(run, pixel_unit="km"), "model.json is damaged: pixel_unit"),
        (lambda run: change_card(run, thresholds={"unit": "code", "values": [3, 1]}), "model.json is damaged: thresholds"),
        (lambda run: change_card(run, format_version=1), "model.json has format version 1, this program reads 2; train"),
        (lambda run: change_card(run, encoding="vil256"), "vil256 codes in kg/m2; known are vil255 and"),
        (lambda run: change_card(run, unit="mm/h"), "vil255 codes in mm/h"),
        (lambda run: change_card(run, name="transformer"), "model.json: model 'transformer' is not known"),
        (lambda run: change_card(run, options={"widht": 8}), "did you mean 'width'"),
    ],
)  # fmt: skip
def test_a_damaged_card_is_refused_by_name(run: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(run)
    refused = refusal(run)
    assert message in refused
    assert str(run / "model.json") in refused


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_half_a_file_of_weights_is_refused_by_name(run: Path, length: int) -> None:
    weights = run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    assert f"{weights} is not a whole safetensors file" in refusal(run)


def widen(run: Path) -> None:
    change_card(run, options=json.loads((run / "model.json").read_text())["options"] | {"width": 16})


def deepen(run: Path) -> None:
    change_card(run, options=json.loads((run / "model.json").read_text())["options"] | {"levels": 1})


def see_less(run: Path) -> None:
    change_card(run, input_frames=3)


def lose_a_tensor(run: Path) -> None:
    weights = load_file(run / "model.safetensors")
    del weights["head.bias"]
    save_file(weights, run / "model.safetensors")


def gain_a_tensor(run: Path) -> None:
    save_file({**load_file(run / "model.safetensors"), "tail": torch.ones(2)}, run / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (widen, r"\w+\S* is \(\d+.*\) there and \(\d+.*\) in the model asked for"),
        (deepen, "there and"),
        (see_less, r"down.0.0.weight is \(8, 4, 3, 3\) there and \(8, 3, 3, 3\) in the model"),
        (lose_a_tensor, r"head.bias is absent there and \(3,\) in the model"),
        (gain_a_tensor, r"tail is \(2,\) there and absent in the model"),
    ],
)
def test_weights_of_another_model_are_refused_naming_a_tensor(
    run: Path, change: Callable[[Path], None], message: str
) -> None:
    change(run)
    refused = refusal(run)
    assert f"{run / 'model.safetensors'} holds another model's weights" in refused
    assert re.search(message, refused)
    assert refusal(run) == refused  # the same tensor each time


def test_weights_are_written_whole_or_not_at_all(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_weights(run / "model.safetensors", {"x": torch.ones(3)}, [("x", torch.ones(3))])
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_weights_are_written_one_by_one_as_the_library_reads_them(tmp_path: Path) -> None:
    weights = {
        "b": torch.arange(6.0).view(2, 3).t(), "a.weight": torch.zeros(0), "scalar": torch.tensor(7), "e": torch.rand(5),
    }  # fmt: skip
    layout = {name: tensor.to("meta") for name, tensor in weights.items()}
    write_weights(tmp_path / "x.safetensors", layout, weights.items())
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in weights.items())


def test_weights_are_gone_through_to_the_end_where_they_cannot_be_written(tmp_path: Path) -> None:
    asked = []

    def made() -> Iterator[tuple[str, torch.Tensor]]:
        for name in "abc":
            asked.append(name)
            yield name, torch.ones(3)

    with pytest.raises(OSError, match="No such file"):
        write_weights(tmp_path / "none/x.safetensors", dict.fromkeys("abc", torch.ones(3)), made())
    assert asked == ["a", "b", "c"], "the other ranks wait for this one in each"


KIND: dict[str, Any] = {"unit": "kg/m2", "cadence_s": 300, "pixel": (1000.0, 1000.0), "pixel_unit": "m"}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"unit": "mm/h"}, "the archive has unit mm/h where the model was trained on kg/m2"),
        ({"cadence_s": 600}, "the archive has cadence 600 s where the model was trained on 300 s"),
        (
            {"pixel": (1000.0, 500.0)},
            "pixel size 1000 x 500 m where the model was trained on 1000 x 1000 m",
        ),
        (
            {"pixel_unit": "degree"},
            "pixel size 1000 x 1000 degrees where the model was trained on 1000 x 1000 m",
        ),
        ({"unit": "dBZ", "cadence_s": 900}, "unit dBZ where the model was trained on kg/m2, cadence 900 s where"),
    ],
)
def test_data_of_another_kind_is_refused_naming_both(made: Path, other: dict[str, Any], message: str) -> None:
    card = open_model(made, None, CPU)[1]
    card.check_kind("the archive", **KIND)
    with pytest.raises(UserError, match=re.escape(message)):
        card.check_kind("the archive", **KIND | other)


def test_pixels_that_differ_less_than_the_builder_minds_are_of_one_size(made: Path) -> None:
    open_model(made, None, CPU)[1].check_kind("the archive", **KIND | {"pixel": (1000.01, 999.99)})
