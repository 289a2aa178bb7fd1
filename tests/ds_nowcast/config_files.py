"""The committed configs: where they lie, and for how many GPUs each is meant."""

from __future__ import annotations

from pathlib import Path

from tests.launching import ROOT

FOLDER = ROOT / "ds_configs"
CONFIGS = sorted(path for path in FOLDER.glob("*.json") if path.name != "schema.json")
PRESETS = ("tiny", "small", "base", "large", "xl")
SCALES = {"gpu": (1,), "node": (1, 2, 4, 8), "cluster": (8, 16, 32, 64)}


def scaled(preset: str, scale: str) -> Path:
    """The file of a preset of `convnext_unet` at a scale."""
    return FOLDER / f"convnext_unet_{preset}_{scale}.json"


def gpus_of(path: Path) -> tuple[int, ...]:
    """Numbers of GPUs at which a file must solve its batch; the last is the one it is tuned for."""
    return SCALES.get(path.stem.rpartition("_")[2], (1, 2, 8))
