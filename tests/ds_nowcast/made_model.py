"""Run folders with a model that was never trained: a residual one forecasts persistence, another one anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep.shards.index import open_shards
from ds_nowcast.config import load_config
from ds_nowcast.exported import ModelCard, card_of, write_weights
from ds_nowcast.models import build_model

THREE_TO_TWO = ["nowcast.data.input_frames=3", "nowcast.data.output_frames=2"]


def made_run(folder: Path, config: Path, shards: Path, settings: list[str], **changes: Any) -> ModelCard:
    """Writes run.json, model.safetensors and model.json; `changes` are made to the card, after the weights were."""
    run_config = load_config(config, settings)
    data, model = run_config.nowcast.data, run_config.nowcast.model
    built = build_model(model.name, model.options, data.input_frames, data.output_frames)
    parameters = sum(p.numel() for p in built.parameters())
    card = card_of(run_config, open_shards(shards), parameters, 7, {}).model_copy(update=changes)
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text("{}")
    weights = built.state_dict()
    write_weights(folder / "model.safetensors", weights, weights.items(), card)
    return card
