"""The documents, followed literally."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from data_prep import build
from data_prep.console import main
from data_prep.readers import READERS
from data_prep.shards.index import open_shards
from data_prep.shards.shard import read_sample
from tests.launching import ROOT


def test_the_reader_of_the_extending_page_builds_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/extending.md").read_text(), re.DOTALL)
    (tmp_path / "npy_reader_of_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(READERS, "npy", "npy_reader_of_the_page")
    archive = tmp_path / "archive"
    archive.mkdir()
    rain_mm_h = np.zeros((400, 400), np.float32)
    rain_mm_h[:20], rain_mm_h[100:200, 100:300] = np.nan, 4.0
    for minute in range(0, 60, 5):
        np.save(archive / f"20240601T12{minute:02d}.npy", rain_mm_h)
    (archive / "notes.npy").write_bytes(b"no time in my name")
    out = tmp_path / "shards"
    arguments = [
        "build",
        "--format",
        "npy",
        "--source",
        str(archive),
        "--out",
        str(out),
        "--frames",
        "6",
        "--split",
        "train",
    ]
    assert main("data_prep", "", {"build": (build.__name__, "")}, [*arguments, "--workers", "1"]) == 0
    shards = open_shards(out)
    assert shards.index.splits["train"].samples == 2
    assert shards.index.left_out == {"name is not a time": 1}
    meta, codes_THW = read_sample(shards, "train", 0)
    rain = shards.index.codes.decode(codes_THW, "mm/h")
    assert np.isnan(rain[:, :20]).all()
    assert rain[0, 150, 200] == pytest.approx(4.0, rel=0.04)  # dbz8 steps by half a dBZ
    assert meta["grid"]["north"] == 200_000.0


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
    folder = ""
    for line in tree.splitlines():
        names = re.split(r"  +", line.strip())[0].split()
        if not line.startswith(" ") and names[0].endswith("/"):
            folder = names[0]
        for name in names:
            place = ROOT / name if not line.startswith(" ") else ROOT / folder / name
            assert place.exists(), f"the README's tree names {place}"


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
