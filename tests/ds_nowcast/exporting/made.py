"""Small trained models as files, one of each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ds_nowcast.config.nowcast_keys import Thresholds
from ds_nowcast.exported import ModelCard, TrainedOn, write_weights
from ds_nowcast.models import build_model

FLOW = "evolution_unet, flow"  # whose pyramid has as many levels as the image has room for
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "unet": ("unet", {"width": 8, "levels": 2}),
    "unet, batch norm": ("unet", {"width": 8, "levels": 2, "norm": "batch", "residual": True}),
    "evolution_unet": ("evolution_unet", {"width": 8, "levels": 2}),
    FLOW: ("evolution_unet", {"width": 8, "levels": 2, "first_guess": "flow"}),
    "convnext_unet": ("convnext_unet", {"width": 8, "depth": 1}),
    "simvp gsta": ("simvp", {"spatial_width": 8, "spatial_depth": 2, "temporal_width": 16, "temporal_depth": 2}),
    "simvp incepu": (
        "simvp",
        {"translator": "incepu", "spatial_width": 8, "spatial_depth": 2, "temporal_width": 16, "temporal_depth": 2},
    ),
}


def trained(file: Path, kind: str, **changes: Any) -> ModelCard:
    """Writes a model's weights, stirred as if by a training, and its card; `changes` are of the card."""
    name, options = KINDS[kind]
    model = build_model(name, options, 4, 3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    card = ModelCard(
        name=name,
        options=options,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        input_frames=4,
        output_frames=3,
        window_stride=1,
        encoding="dbz8",
        unit="mm/h",
        cadence_s=300,
        pixel=(1000.0, 1000.0),
        pixel_unit="m",
        shape=(64, 96),
        thresholds=Thresholds(unit="mm/h", values=[1.0]),
        micro_batch=2,
        trained_on=TrainedOn(archive="knmi", split="train", chosen_on="val", index_hash="0"),
        step=7,
        scores={},
    ).model_copy(update=changes)
    weights = model.state_dict()
    write_weights(file, weights, weights.items(), card)
    return card
