"""A trained model as one file: weights (.safetensors), ONNX (.onnx), or a program of torch.export (.pt2)."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch

from data_prep.building.account import in_bytes
from data_prep.console import ends_politely
from data_prep.files import check_writable, write_atomically, writing
from ds_nowcast.exported import ModelCard, open_model, write_weights
from ds_nowcast.exporting import onnx_files, programs
from ds_nowcast.exporting.traced import traced
from ds_nowcast.launch.ending import parser
from ds_nowcast.models import NowcastModel

EXAMPLE = "python -m ds_nowcast.export --run runs/unet --out unet.onnx"
ENDINGS = (".safetensors", ".onnx", ".pt2")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = parser("python -m ds_nowcast.export", "Write a trained model for other programs.", EXAMPLE)
    which = options.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", type=Path, metavar="DIR", help="run folder; its best evaluated step is written")
    which.add_argument("--model", type=Path, metavar="FILE", help="a .safetensors file with its .json beside it")
    options.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help=f"file to write, its name ends in {', '.join(ENDINGS)}; its card goes beside it, as .json",
    )
    args = options.parse_args(argv)
    return ends_politely(lambda: export(args))


def export(args: Namespace) -> int:
    """Writes the file and its card. Returns 0; raises UserError, DataError where the file's forecasts are not the model's."""
    out: Path = args.out
    check_writable(out, *ENDINGS)
    model, card = open_model(args.run, args.model, torch.device("cpu"))
    with writing(out):
        says = _FORMS[out.suffix.lower()](out, model, card)
    if not args.quiet:
        print(f"{out}: {in_bytes(out.stat().st_size)}, {card.name} of step {card.step}, {says}")
    return 0


def _safetensors(out: Path, model: NowcastModel, card: ModelCard) -> str:
    weights = model.state_dict()
    write_weights(out, weights, weights.items(), card)
    return "weights and card, to the bit"


def _onnx(out: Path, model: NowcastModel, card: ModelCard) -> str:
    onnx_files.check_size(card)
    graph = traced(model, card)
    content, most = onnx_files.as_onnx(graph, model, card)
    _write(out, content, card)
    return f"opset {onnx_files.OPSET}, {_sizes(model, card, graph.any_size)}; onnxruntime's forecasts lie within {most:.1e}"


def _program(out: Path, model: NowcastModel, card: ModelCard) -> str:
    graph = traced(model, card)
    content, most = programs.as_program(graph, model, card)
    _write(out, content, card)
    return f"{_sizes(model, card, graph.any_size)}; read back, its forecasts lie within {most:.1e}"


def _write(out: Path, content: bytes | memoryview, card: ModelCard) -> None:
    write_atomically(out, [content])
    write_atomically(out.with_suffix(".json"), card.to_json())


def _sizes(model: NowcastModel, card: ModelCard, any_size: bool) -> str:
    return f"images of multiples of {model.stride}" if any_size else f"images of {card.shape[0]} x {card.shape[1]}"


_FORMS = {".safetensors": _safetensors, ".onnx": _onnx, ".pt2": _program}


if __name__ == "__main__":
    sys.exit(main())
