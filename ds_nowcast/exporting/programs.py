"""A model as a program of torch.export (.pt2): graph and weights, which torch runs without our sources, in Python or C++."""

from __future__ import annotations

import io

import torch

from ds_nowcast.exported import ModelCard
from ds_nowcast.exporting.traced import Traced, largest_difference
from ds_nowcast.models import NowcastModel

CARD = "nowcast.json"  # among the extra files of the program


def as_program(graph: Traced, model: NowcastModel, card: ModelCard) -> tuple[memoryview, float]:
    """The file's content, and how far the program, read back, lies from the model. Raises DataError where that is too far."""
    file = io.BytesIO()
    torch.export.save(graph.program, file, extra_files={CARD: card.to_json().decode()})
    file.seek(0)
    read = torch.export.load(file).module()
    return file.getbuffer(), largest_difference(read, model, card, graph.any_size)
