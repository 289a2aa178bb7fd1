"""A trained model outside its run: `model.safetensors` (weights) and `model.json` (all else that a forecast needs).

Reading executes nothing from the files: weights are safetensors, the model is one of ours by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from data_prep.encoding import ENCODINGS, Encoding, Unit
from data_prep.errors import UserError
from data_prep.files import format_version, write_atomically
from data_prep.frames import GridUnit, pixel_in_words, same_pixels
from data_prep.shards.index import Shards
from ds_nowcast.config import RunConfig
from ds_nowcast.config.nowcast_keys import DataKeys, Thresholds
from ds_nowcast.model_space import thresholds_of
from ds_nowcast.models import NowcastModel, checked_options, draw_weights, outline
from ds_nowcast.safetensors_file import as_safetensors
from ds_nowcast.stream.augment import augmented_shape

FORMAT_VERSION = 2
_Positive = Annotated[int, Field(gt=0)]


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class TrainedOn(_Card):
    """The shards behind a model."""

    archive: str
    split: str
    chosen_on: str  # the split scored while training, by which the best step was chosen
    index_hash: str


class ModelCard(_Card):
    """What `model.json` says."""

    format_version: int = FORMAT_VERSION
    name: str = Field(description="a model of ds_nowcast/models")
    options: dict[str, Any] = Field(description="its options")
    parameters: _Positive
    input_frames: _Positive
    output_frames: _Positive
    window_stride: _Positive = Field(description="frames between windows of a sequence, for scores on the same windows")
    encoding: str
    unit: Unit = Field(description="unit of the archive it was trained on")
    cadence_s: _Positive
    pixel: tuple[float, float] = Field(description="height and width of a pixel, in pixel_unit")
    pixel_unit: GridUnit
    shape: tuple[_Positive, _Positive] = Field(description="rows, columns it was trained on")
    thresholds: Thresholds = Field(description="by which it is scored")
    micro_batch: _Positive = Field(description="windows predicted at a time when it is scored")
    trained_on: TrainedOn
    step: int = Field(description="optimizer steps behind the weights")
    scores: dict[str, Any] = Field(description="of the split scored while training, empty before the first evaluation")

    @property
    def codes(self) -> Encoding:
        """The encoding of its input."""
        return ENCODINGS[self.encoding]

    def data(self, split: str) -> DataKeys:
        """The windows it takes, of a split."""
        return DataKeys(
            split=split,
            input_frames=self.input_frames,
            output_frames=self.output_frames,
            window_stride=self.window_stride,
        )

    def check_kind(
        self, what: str, *, unit: str, cadence_s: int, pixel: tuple[float, float], pixel_unit: GridUnit
    ) -> None:
        """Raises UserError where `what` (an archive, shards) is of another kind than the model was trained on."""
        pixel_alike = same_pixels(pixel, pixel_unit, self.pixel, self.pixel_unit)
        theirs, ours = pixel_in_words(pixel, pixel_unit), pixel_in_words(self.pixel, self.pixel_unit)
        compared = [
            ("unit", unit == self.unit, unit, self.unit),
            ("cadence", cadence_s == self.cadence_s, f"{cadence_s} s", f"{self.cadence_s} s"),
            ("pixel size", pixel_alike, theirs, ours),
        ]
        differing = [
            f"{name} {given} where the model was trained on {own}" for name, alike, given, own in compared if not alike
        ]
        if differing:
            raise UserError(
                f"{what} has {', '.join(differing)}; give data of the model's kind, or a model trained on this kind"
            )

    def to_json(self) -> bytes:
        """The file's content."""
        return (json.dumps(self.model_dump(mode="json"), indent=1) + "\n").encode()


def card_of(config: RunConfig, shards: Shards, parameters: int, step: int, scores: dict[str, Any]) -> ModelCard:
    """The card of a model in training."""
    keys, index = config.nowcast, shards.index
    return ModelCard(
        name=keys.model.name,
        options=checked_options(keys.model.name, keys.model.options).model_dump(mode="json"),
        parameters=parameters,
        input_frames=keys.data.input_frames,
        output_frames=keys.data.output_frames,
        window_stride=keys.data.window_stride,
        encoding=index.encoding,
        unit=index.unit,
        cadence_s=index.cadence_s,
        pixel=index.pixel,
        pixel_unit=index.pixel_unit,
        shape=augmented_shape(index.shape, keys.data.augment),
        thresholds=thresholds_of(index.codes, index.unit, keys.evaluation.thresholds),
        micro_batch=keys.evaluation.micro_batch,
        trained_on=TrainedOn(
            archive=index.archive, split=keys.data.split, chosen_on=keys.evaluation.split, index_hash=shards.hash
        ),
        step=step,
        scores=scores,
    )


def write_weights(
    path: Path,
    layout: Mapping[str, torch.Tensor],
    weights: Iterable[tuple[str, torch.Tensor]],
    card: ModelCard | None = None,
) -> None:
    """Writes safetensors, one tensor after the other, and the card beside it; each whole or not at all.

    layout: what will come, by name and in its order; only shapes and types count. weights: on the CPU; exhausted even
    where writing fails, as all ranks take part in making them.
    """
    weights = iter(weights)
    try:
        write_atomically(path, as_safetensors(layout, weights))
    finally:
        for _ in weights:
            pass
    if card is not None:
        write_atomically(path.with_suffix(".json"), card.to_json())


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights by name. Raises UserError where the file is missing or not safetensors."""
    try:
        with open(path, "rb"):  # says why it cannot be read; the library would not
            weights: dict[str, torch.Tensor] = load_file(path)  # mapped, not read
        return weights
    except OSError as error:
        raise UserError(
            f"weights {path} cannot be read ({error.strerror}); give a .safetensors file that a training wrote"
        ) from None
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); export or copy it again") from None


def check_weights(model: NowcastModel, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Raises UserError, naming a tensor, where the weights read from a file are another model's. An outline will do."""
    own = model.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        theirs, ours = weights.get(name), own.get(name)
        if theirs is None or ours is None or theirs.shape != ours.shape:
            shapes = [("absent" if tensor is None else str(tuple(tensor.shape))) for tensor in (theirs, ours)]
            raise UserError(
                f"{path} holds another model's weights: {name} is {shapes[0]} there and {shapes[1]} in the model asked for; "
                "give the weights of this model, or the model of these weights (its .json beside them says which)"
            )


def open_model(run: Path | None, model: Path | None, device: torch.device) -> tuple[NowcastModel, ModelCard]:
    """The model of a run folder, or of a .safetensors file with its .json beside it, in evaluation mode.

    Raises UserError where there is none yet, or the files are damaged or do not belong together.
    """
    if run is not None and not (run / "run.json").is_file():
        raise UserError(
            f"{run} is not a run folder (it has no run.json); give one that ds_nowcast.train made, or --model FILE"
        )
    path = model if run is None else run / "model.safetensors"
    assert path is not None
    if not path.is_file():
        hint = (
            "give a .safetensors file with its .json beside it"
            if run is None
            else "a training writes it when it first evaluates"
        )
        raise UserError(f"{path} does not exist; {hint}")
    card = _read_card(path.with_suffix(".json"))
    try:
        built = outline(card.name, card.options, card.input_frames, card.output_frames)
    except UserError as error:
        raise UserError(f"{path.with_suffix('.json')}: {error}") from None
    weights = read_weights(path)
    check_weights(built, weights, path)
    return draw_weights(built, 0, weights).eval().to(device), card


def _read_card(path: Path) -> ModelCard:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); it belongs beside the weights") from None
    if (version := format_version(content)) not in (None, FORMAT_VERSION):
        raise UserError(
            f"{path} has format version {version}, this program reads {FORMAT_VERSION}; train the model anew, or use the "
            "program that wrote it"
        )
    try:
        card = ModelCard.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path} is damaged: {where}: {first['msg']}; copy it again from the run") from None
    if card.encoding not in ENCODINGS or card.unit not in card.codes.units:
        raise UserError(f"{path} has {card.encoding} codes in {card.unit}; known are {' and '.join(ENCODINGS)}")
    return card
