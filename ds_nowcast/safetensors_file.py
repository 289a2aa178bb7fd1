"""The bytes of a .safetensors file, one tensor after the other: the library's own writer wants all in memory, and doubles them.

https://huggingface.co/docs/safetensors: 8 bytes of the header's length, little-endian; a JSON header, filled up with spaces
to a multiple of 8; the tensors end to end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch

_TYPES = {torch.float32: "F32", torch.int64: "I64"}  # a model's weights, and the counter of a BatchNorm


def as_safetensors(
    layout: Mapping[str, torch.Tensor], weights: Iterator[tuple[str, torch.Tensor]]
) -> Iterator[bytes | memoryview]:
    """The file in pieces. layout: shapes and types of what will come, in its order; weights: on the CPU."""
    header, end = dict[str, Any](), 0
    for name, tensor in layout.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for expected in layout:
        name, tensor = next(weights)
        assert name == expected and (tensor.shape, tensor.dtype) == (layout[name].shape, layout[name].dtype)
        yield tensor.contiguous().view(-1).numpy().data.cast("B")
