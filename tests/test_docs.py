"""The documents, followed literally."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep import build
from data_prep.console import main
from data_prep.errors import UserError
from data_prep.readers import READERS
from data_prep.shards.index import open_shards
from data_prep.shards.stored import read_sample
from ds_nowcast.models import MODELS, build_model
from tests.launching import ROOT


def code_of_the_extending_page(number: int) -> str:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs/extending.md").read_text(), re.DOTALL)[number]


def test_the_model_of_the_extending_page_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model_of_the_page.py").write_text(code_of_the_extending_page(1))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(MODELS, "halves", "model_of_the_page")
    model = build_model("halves", {"preset": "small"}, 5, 3)
    past_BTHW = torch.rand(2, 5, 8, 6)
    assert torch.equal(model(past_BTHW), past_BTHW[:, -1:].expand(-1, 3, -1, -1))
    assert sum(p.numel() for p in model.parameters()) == 16 * 5 * 9 + 16 + 16 * 3 * 4 + 3
    with pytest.raises(UserError, match="7 x 6 pixels do not fit"):
        model(torch.rand(1, 5, 7, 6))


def test_the_reader_of_the_extending_page_builds_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = code_of_the_extending_page(0)
    assert len([line for line in code.splitlines() if line and "import" not in line]) <= 30
    (tmp_path / "rain_reader_of_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(READERS, "rain", "rain_reader_of_the_page")
    archive = tmp_path / "archive"
    archive.mkdir()
    codes = np.zeros((400, 400), "<u2")
    codes[:20], codes[100:200, 100:300] = 65535, 33
    for minute in range(0, 60, 5):
        content = struct.pack("<HH", *codes.shape) + codes.tobytes()
        name = f"20240601T12{minute:02d}.rain"
        if minute < 30:
            (archive / name).write_bytes(content)
        else:
            (archive / f"{name}.gz").write_bytes(gzip.compress(content))
    (archive / "notes.rain").write_bytes(b"no time in my name")
    (archive / "20240601T1300.rain").write_bytes(b"torn")
    out = tmp_path / "shards"
    words = ["build", "--format", "rain", "--source", str(archive), "--out", str(out), "--frames", "6"]
    assert main("data_prep", "", {"build": (build.__name__, "")}, [*words, "--split", "train", "--workers", "1"]) == 0
    shards = open_shards(out)
    assert shards.index.splits["train"].samples == 2
    assert shards.index.left_out == {"run shorter than 6 frames": 1, "unreadable": 1}
    meta, codes_THW = read_sample(shards, "train", 0)
    rain = shards.index.codes.decode(codes_THW, "mm/h")
    assert np.isnan(rain[:, 380:]).all() and not np.isnan(rain[:, :380]).any()
    assert rain[0, 250, 200] == pytest.approx(33 * 0.12, rel=0.04)  # dbz8 steps by half a dBZ
    assert meta["grid"]["north"] == 200_000.0 and meta["times"][0] in ("2024-06-01T12:00:00Z", "2024-06-01T12:30:00Z")


def test_links_between_documents_lead_somewhere() -> None:
    for page in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "ds_configs/README.md",
        *(ROOT / "docs").glob("*.md"),
    ]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_tree_in_the_readme_names_what_is_there() -> None:
    tree = (ROOT / "README.md").read_text().split("## The tree\n```\n")[1].split("```")[0]
    folder, told = "", set[str]()
    for line in tree.splitlines():
        names = re.split(r"  +", line.strip())[0].split()
        told |= {f"{folder}{name}".rstrip("/") for name in re.findall(r"[\w./]+", line)}
        if not line.startswith(" ") and names[0].endswith("/"):
            folder = names[0]
        for name in names:
            place = ROOT / name if not line.startswith(" ") else ROOT / folder / name
            assert place.exists(), f"the README's tree names {place}"
    for top in ("data_prep", "ds_nowcast"):
        there = [p for p in (ROOT / top).iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]
        missing = {f"{top}/{p.name}" for p in there if not p.name.startswith("__")} - told
        assert not missing, f"the README's tree lacks {missing}"


def test_modules_are_listed_for_installation() -> None:
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {
        p.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for top in ("data_prep", "ds_nowcast", "ds_configs")
        for p in (ROOT / top).rglob("__init__.py")
    }
    assert listed == there


def test_no_page_holds_a_placeholder() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert not re.findall(r"TODO|FIXME|XXX|DURATION|[A-Z]+_TABLE", page.read_text()), page.name
