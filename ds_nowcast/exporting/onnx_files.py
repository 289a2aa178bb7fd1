"""A model in ONNX, for runtimes without torch; the one door to onnx and onnxruntime (extra `export`)."""

from __future__ import annotations

import json
import logging
import warnings
from typing import Any

import torch
from torch import Tensor

from data_prep.encoding import Encoding
from data_prep.errors import UserError, not_installed
from ds_nowcast.exported import ModelCard
from ds_nowcast.exporting.traced import Traced, largest_difference
from ds_nowcast.models import NowcastModel

OPSET = 20  # the first with GELU as an operator and images sampled at any place by one name
MOST_BYTES = 2**31 - 2**26  # protobuf's limit, less the graph
INPUT, OUTPUT = "past", "future"
_BATCH, _SIDES = "batch", ("height", "width")


def check_size(card: ModelCard) -> None:
    """Raises UserError where the weights do not fit a file, or what writes and checks it is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
        import onnxscript  # noqa: F401 - torch writes ONNX by it
    except ModuleNotFoundError as missing:
        raise not_installed("an ONNX file", missing.name or "onnx", "export") from missing
    if 4 * card.parameters > MOST_BYTES:
        raise UserError(
            f"an ONNX file holds 2 GB at most, and the weights of {card.name} have {4 * card.parameters / 1e9:.3g} GB; write "
            "a .safetensors or .pt2 file"
        )


def as_onnx(graph: Traced, model: NowcastModel, card: ModelCard) -> tuple[bytes, float]:
    """The file's content, and how far onnxruntime's forecasts lie from the model's. Raises DataError where that is too far."""
    import onnx
    import onnxruntime

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of libraries that we do not need
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torch's own parts think of each other
        plain = graph.program.run_decompositions({torch.ops.aten.group_norm.default: _group_norm})
        made = torch.onnx.export(plain, (), opset_version=OPSET, dynamo=True, verbose=False)
    assert made is not None
    content = _described(made.model_proto, model.stride, card, graph.any_size)
    onnx.checker.check_model(content, full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def predict(past_BTHW: Tensor) -> Tensor:
        [future] = session.run([OUTPUT], {INPUT: past_BTHW.numpy()})
        return torch.from_numpy(future)

    return content, largest_difference(predict, model, card, graph.any_size)


def _group_norm(
    x_BCHW: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, cudnn: bool = True
) -> Tensor:
    """As torch's, with means row by row first.

    onnxruntime adds up in float32, one number after the other: over a large image that is mostly dry, where they are
    alike, its own norm was 600 times as far from the truth as torch's.
    """
    x_BGRW = x_BCHW.reshape(x_BCHW.shape[0], groups, -1, x_BCHW.shape[3])
    x_BGRW = x_BGRW - x_BGRW.mean(3, keepdim=True).mean(2, keepdim=True)
    x_BGRW = x_BGRW * torch.rsqrt((x_BGRW * x_BGRW).mean(3, keepdim=True).mean(2, keepdim=True) + eps)
    x_BCHW = x_BGRW.reshape(x_BCHW.shape)
    x_BCHW = x_BCHW if weight is None else x_BCHW * weight[:, None, None]
    return x_BCHW if bias is None else x_BCHW + bias[:, None, None]


def _described(proto: Any, stride: int, card: ModelCard, any_size: bool) -> bytes:
    """With names for what goes in and out, and all that one who has the file alone must know."""
    graph = proto.graph
    renamed = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    del graph.value_info[:]  # shapes inside, by the tracer's names
    for node in graph.node:
        del node.metadata_props[:]  # where the sources lie on the disk
        node.doc_string = ""
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for value, name in ((graph.input[0], INPUT), (graph.output[0], OUTPUT)):
        value.name = name
        axes = value.type.tensor_type.shape.dim
        for axis, word in zip((0, 2, 3), (_BATCH, *_SIDES), strict=True):
            if axis == 0 or any_size:
                axes[axis].dim_param = word
    for key, text in about(stride, card, any_size).items():
        proto.metadata_props.add(key=key, value=text)
    content: bytes = proto.SerializeToString()
    return content


def about(stride: int, card: ModelCard, any_size: bool) -> dict[str, str]:
    """What a user of the file must know, as its metadata."""
    size = f"any multiples of {stride}" if any_size else f"{card.shape[0]} and {card.shape[1]}"
    missing = card.codes.missing
    return {
        "nowcast.card": card.to_json().decode(),
        "nowcast.input": (
            f"{INPUT}: float32 (batch, {card.input_frames} frames, height, width), oldest frame first, north first, "
            f"{card.cadence_s} s apart; height and width are {size}; values are codes / {missing}, 0 where nothing was seen"
        ),
        "nowcast.output": (
            f"{OUTPUT}: float32 (batch, {card.output_frames} frames, height, width), the frames that follow; clip to [0, 1]; "
            f"times {missing} it is a code, between codes the values are interpolated"
        ),
        "nowcast.encoding": json.dumps(_table(card.codes, card.unit)),
    }


def _table(encoding: Encoding, unit: str) -> dict[str, Any]:
    return {
        "name": encoding.name,
        "unit": unit,
        "missing": encoding.missing,
        "no_echo": encoding.no_echo,
        "values": [float(f"{value:.9g}") for value in encoding.values[unit]],
    }
