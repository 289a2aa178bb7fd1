"""A trained model for other programs: each form forecasts what the model does, and says what goes in and out."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.encoding import ENCODINGS
from data_prep.errors import DataError
from ds_nowcast import export
from ds_nowcast.exported import ModelCard, open_model
from ds_nowcast.exporting import onnx_files
from ds_nowcast.exporting.traced import largest_difference, traced
from ds_nowcast.forecasting.members import forecast_of, open_members
from ds_nowcast.models import NowcastModel
from tests.ds_nowcast.exporting.made import FLOW, KINDS, trained
from tests.launching import ROOT

CPU = torch.device("cpu")
# one of each file's kind with the slow tests; tracing all models takes minutes
every_kind = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "unet" else pytest.mark.hosts) for kind in KINDS if kind != FLOW]
)


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    trained(tmp_path / "in" / "unet.safetensors", "unet")
    return tmp_path / "in" / "unet.safetensors"


def command(model: Path, out: Path, *options: str) -> int:
    return export.main(["--model", str(model), "--out", str(out), *options])


def forecast(model: Path, past_BTHW: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        future: torch.Tensor = open_model(None, model, CPU)[0](past_BTHW)
    return future


def test_a_model_exported_as_safetensors_is_the_same_to_the_bit(
    unet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "copy.safetensors"
    assert command(unet, out) == 0
    assert "unet of step 7, weights and card, to the bit" in capsys.readouterr().out
    assert out.read_bytes() == unet.read_bytes()
    assert out.with_suffix(".json").read_bytes() == unet.with_suffix(".json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.json", "copy.safetensors", "in"]


@pytest.mark.slow
@every_kind
def test_onnxruntime_forecasts_as_the_model_does_at_any_size_and_number(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    card = trained(tmp_path / "m.safetensors", kind)
    assert command(tmp_path / "m.safetensors", tmp_path / "o.onnx") == 0
    printed = capsys.readouterr()
    stride = open_model(None, tmp_path / "m.safetensors", CPU)[0].stride
    assert f"opset 20, images of multiples of {stride}; onnxruntime's forecasts lie within" in printed.out
    assert printed.err == ""
    session = runtime.InferenceSession(tmp_path / "o.onnx", providers=["CPUExecutionProvider"])
    [given], [made] = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape[1], made.name, made.shape[1]) == ("past", 4, "future", 3)
    assert [given.shape[axis] for axis in (0, 2, 3)] == ["batch", "height", "width"]
    for shape in ((1, 4, 2 * stride, 7 * stride), (5, 4, 3 * stride, 3 * stride)):
        past_BTHW = torch.rand(shape, generator=torch.Generator().manual_seed(4))
        [future] = session.run(["future"], {"past": past_BTHW.numpy()})
        np.testing.assert_allclose(future, forecast(tmp_path / "m.safetensors", past_BTHW), atol=1e-3)
    about = session.get_modelmeta().custom_metadata_map
    assert ModelCard.model_validate_json(about["nowcast.card"]) == card
    assert (tmp_path / "o.json").read_text() == about["nowcast.card"]
    table = json.loads(about["nowcast.encoding"])
    assert (table["name"], table["unit"], table["missing"], table["no_echo"]) == ("dbz8", "mm/h", 255, 0)
    np.testing.assert_allclose(table["values"], ENCODINGS["dbz8"].values["mm/h"], rtol=1e-7)
    assert str(Path(export.__file__).parent).encode() not in (tmp_path / "o.onnx").read_bytes()


@pytest.mark.slow
@every_kind
def test_a_program_of_torch_export_forecasts_as_the_model_does(kind: str, tmp_path: Path) -> None:
    card = trained(tmp_path / "m.safetensors", kind)
    assert command(tmp_path / "m.safetensors", tmp_path / "o.pt2", "--quiet") == 0
    beside: dict[str, Any] = {"nowcast.json": ""}
    program = torch.export.load(tmp_path / "o.pt2", extra_files=beside).module()
    stride = open_model(None, tmp_path / "m.safetensors", CPU)[0].stride
    past_BTHW = torch.rand(3, 4, 2 * stride, 5 * stride)
    with torch.no_grad():
        torch.testing.assert_close(program(past_BTHW), forecast(tmp_path / "m.safetensors", past_BTHW))
    assert ModelCard.model_validate_json(beside["nowcast.json"]) == card
    assert str(Path(export.__file__).parent).encode() not in (tmp_path / "o.pt2").read_bytes()


class Fixed(NowcastModel):
    """A model that takes one size only."""

    stride, receptive_field = 8, 0

    def forward(self, past_BTHW: torch.Tensor) -> torch.Tensor:
        assert past_BTHW.shape[2:] == (64, 96)
        return past_BTHW[:, -3:] * torch.linspace(0, 1, 96)


@pytest.mark.slow
def test_a_model_of_one_size_is_traced_at_the_size_trained_on(tmp_path: Path) -> None:
    card = trained(tmp_path / "m.safetensors", "unet")
    graph = traced(Fixed(), card)
    assert not graph.any_size
    assert largest_difference(graph.program.module(), Fixed(), card, graph.any_size) == 0.0
    assert "height and width are 64 and 96" in onnx_files.about(8, card, graph.any_size)["nowcast.input"]


@pytest.mark.slow
@pytest.mark.hosts
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["o.onnx", "o.pt2"])
def test_a_model_that_starts_at_the_flow_is_exported_at_the_size_trained_on_for_any_number(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    trained(tmp_path / "m.safetensors", FLOW)
    assert command(tmp_path / "m.safetensors", tmp_path / name) == 0
    assert "64 x 96" in capsys.readouterr().out
    past_BTHW = torch.rand((3, 4, 64, 96), generator=torch.Generator().manual_seed(4))
    own = forecast(tmp_path / "m.safetensors", past_BTHW)
    if name == "o.onnx":
        session = runtime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(["future"], {"past": past_BTHW.numpy()})[0], own, atol=1e-3)
    else:
        with torch.no_grad():
            torch.testing.assert_close(torch.export.load(tmp_path / name).module()(past_BTHW), own)


def refusal(capsys: pytest.CaptureFixture[str], run: Callable[[], int], code: int = 2) -> str:
    assert run() == code
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1 and printed.out == ""
    return printed.err


def test_a_model_that_cannot_be_traced_is_refused_with_the_reason(
    unet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Untraced(Fixed):
        def forward(self, past_BTHW: torch.Tensor) -> torch.Tensor:
            return past_BTHW * float(past_BTHW.max())

    card = open_model(None, unet, CPU)[1]
    monkeypatch.setattr(export, "open_model", lambda run, model, device: (Untraced(), card))
    message = refusal(capsys, lambda: command(unet, tmp_path / "o.pt2"))
    assert "model unet cannot be traced by torch.export (" in message and "write a .safetensors file" in message
    assert not (tmp_path / "o.pt2").exists()


def test_a_file_whose_forecasts_are_not_the_models_is_not_written(
    unet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Drifting(Fixed):
        def forward(self, past_BTHW: torch.Tensor) -> torch.Tensor:
            return past_BTHW[:, -3:] + (0.0 if torch.compiler.is_compiling() else 0.01)

    card = open_model(None, unet, CPU)[1]
    monkeypatch.setattr(export, "open_model", lambda run, model, device: (Drifting(), card))
    message = refusal(capsys, lambda: command(unet, tmp_path / "o.pt2"), DataError.exit_code)
    assert "differs from the model by 0.01 in model space" in message
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_more_weights_than_an_onnx_file_holds_are_refused_before_anything_is_traced(
    unet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    model, card = open_model(None, unet, CPU)
    large = card.model_copy(update={"parameters": 1_061_970_624})
    monkeypatch.setattr(export, "open_model", lambda run, path, device: (model, large))
    message = refusal(capsys, lambda: command(unet, tmp_path / "o.onnx"))
    assert (
        "an ONNX file holds 2 GB at most, and the weights of unet have 4.25 GB; write a .safetensors or .pt2" in message
    )


def test_without_onnx_the_error_names_the_extra(
    unet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    message = refusal(capsys, lambda: command(unet, tmp_path / "o.onnx"))
    assert "an ONNX file needs onnx, which is not installed; pip install 'ds-nowcast[export]'" in message


def test_another_ending_is_refused_naming_those_there_are(
    unet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(capsys, lambda: command(unet, tmp_path / "o.pth"))
    assert "give a name that ends in .safetensors or .onnx or .pt2" in message


@pytest.mark.slow
def test_the_forecasting_pages_program_forecasts_as_the_command_does(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    trained(tmp_path / "m.safetensors", "unet, batch norm")
    assert command(tmp_path / "m.safetensors", tmp_path / "knmi.onnx", "--quiet") == 0
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/forecasting.md").read_text(), re.DOTALL)
    codes = np.random.default_rng(0).integers(0, 256, (1, 4, 20, 24), dtype=np.uint8)
    names: dict[str, Any] = {"codes_BTHW": codes}
    exec(code.replace('"knmi.onnx"', repr(str(tmp_path / "knmi.onnx"))), names)
    members = open_members([], [tmp_path / "m.safetensors"], "whole", CPU)
    expected = forecast_of(members, codes[0], "whole", CPU).values_LHW
    shown = ~np.isnan(expected)
    np.testing.assert_allclose(names["rain"][0][shown], expected[shown], rtol=1e-3, atol=1e-4)


def test_a_run_gives_its_best_evaluated_step(unet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    for ending in (".safetensors", ".json"):
        (run / f"model{ending}").write_bytes(unet.with_suffix(ending).read_bytes())
    assert export.main(["--run", str(run), "--out", str(tmp_path / "copy.safetensors")]) == 0
    assert (tmp_path / "copy.safetensors").read_bytes() == unet.read_bytes()
    assert "step 7" in capsys.readouterr().out
    message = refusal(capsys, lambda: export.main(["--run", str(tmp_path), "--out", str(tmp_path / "c.onnx")]))
    assert "is not a run folder" in message
