"""A realistic `scores.json` with cases and a run folder: simulated storms, and simple forecasts of them.

Scores are made here as plainly as can be, by numpy on whole arrays: the report is what is tested. The "model" moves the
last frame with the storm and smooths it the more the further ahead, as networks do.

Names: N windows, T lead times, H, W pixels.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import ENCODINGS
from data_prep.frames import Grid
from data_prep.storms import storm
from ds_nowcast.scoring.report import Case

Fields = NDArray[np.float32]
FRAMES, SIZE, SHOWN = 5, 64, 3
LABELS = ("16", "74", "133", "160", "181", "219")
CODES = ENCODINGS["vil255"]
GRID = Grid((SIZE, SIZE), "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere", (1e3, 1e3), 2e5, -1e5)


def sample_scores(windows: int = 3, leads: int = 6) -> tuple[dict[str, Any], list[Case]]:
    """The content of `scores.json`, and its cases."""
    rng = np.random.default_rng(7)
    events = [storm(rng, SIZE, FRAMES + leads) for _ in range(windows)]
    codes_NTHW = np.stack([CODES.encode(event, "kg/m2") for event in events])
    values = codes_NTHW.astype(np.float32) / CODES.missing
    past, target = values[:, :FRAMES], values[:, FRAMES:]
    valid = np.ones_like(target, bool)
    valid[:, :, :9, :14] = False
    forecasts = {
        "model": _smoothed(_moved(past, leads)),
        "persistence": np.repeat(past[:, -1:], leads, 1),
        "extrapolation": _moved(past, leads),
        "climatology": np.full_like(target, target.mean()),
    }
    scores: dict[str, Any] = {"task": _task(windows, leads)}
    scores |= {name: _scores(forecast, target, valid) for name, forecast in forecasts.items()}
    scores["skill"] = {name: _skill(scores["model"], scores[name]) for name in list(forecasts)[1:]}
    cases = [
        _case(name, i, past, target, valid, forecasts)
        for i, name in zip(range(windows), ("best", "median", "worst"), strict=False)
    ]
    return json.loads(json.dumps(scores, allow_nan=False)), cases


def sample_run(folder: Path) -> Path:
    """A run folder with a training's `metrics.jsonl` (its last line half written) and `config.json`."""
    folder.mkdir(parents=True)
    rng, lines = np.random.default_rng(3), []
    for step in range(25, 1001, 25):
        loss = 0.03 * math.exp(-step / 180) + 0.011 + rng.normal(0, 0.0006)
        lines.append(
            {"step": step, "loss": loss, "lr": 1e-3 * min(step / 100, 0.5 * (1 + math.cos(math.pi * step / 1000)))}
        )
        if step % 200 == 0:
            told = {"csi_pooled": 0.34 - 0.2 * math.exp(-step / 250), "mse": 0.011 + 0.01 * math.exp(-step / 200)}
            found = {"model": told, "persistence": {"csi_pooled": 0.27, "mse": 0.0171}}
            lines.append({"step": step, "evaluation": {"split": "val", "windows": 32, **found}})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 10')
    config = {"train_batch_size": 8, "nowcast": {"model": {"name": "unet", "width": 16}, "steps": 1000}}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return folder


def _task(windows: int, leads: int) -> dict[str, Any]:
    return {
        "frames": FRAMES, "leads": leads, "cadence_s": 300, "pixel": [1000.0, 1000.0], "pixel_unit": "m", "unit": "kg/m2",
        "thresholds": {"unit": "code", "values": list(map(float, LABELS))}, "windows": windows, "split": "test",
        "data": "held out", "index_hash": "73f2d68333e2e7ee2c6416e1baa89328354f2c1ea1de99a7623b076bc51bceb9",
        "model": {"name": "unet", "parameters": 1034721, "step": 1000},
        "versions": {"ds_nowcast": "0.1.0", "torch": "2.13.0+cpu", "deepspeed": "0.19.8"},
    }  # fmt: skip


def _moved(past: Fields, leads: int) -> Fields:
    """The last frame shifted by the whole pixels per frame that fit the last two best."""
    out = np.empty((len(past), leads, *past.shape[2:]), np.float32)
    for n, frames in enumerate(past):
        steps = [(y, x) for y in range(-4, 5) for x in range(-4, 5)]
        y, x = min(steps, key=lambda s: float(np.square(np.roll(frames[-2], s, (0, 1)) - frames[-1])[6:-6, 6:-6].sum()))
        for lead in range(leads):
            out[n, lead] = np.roll(frames[-1], (y * (lead + 1), x * (lead + 1)), (0, 1))
    return out


def _smoothed(fields: Fields) -> Fields:
    wave = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE))
    out = [
        np.fft.irfft2(np.fft.rfft2(fields[:, t]) * np.exp(-((wave * (1.5 + 1.3 * t)) ** 2)), (SIZE, SIZE))
        for t in range(fields.shape[1])
    ]
    return np.clip(np.stack(out, 1), 0.0, 1.0).astype(np.float32)


def _skill(model: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    csi = {
        label: None if ours is None or theirs in (None, 1.0) else (ours - theirs) / (1 - theirs)
        for (label, ours), theirs in zip(model["csi_pooled"].items(), reference["csi_pooled"].values(), strict=True)
    }
    return {key: 1 - model[key] / reference[key] for key in ("mse", "mae")} | {"csi_pooled": csi}


def _scores(forecast: Fields, target: Fields, valid: NDArray[np.bool_]) -> dict[str, Any]:
    leads = target.shape[1]
    per_lead = [_part(*(a[:, t : t + 1] for a in (forecast, target, valid))) for t in range(leads)]
    whole = _part(forecast, target, valid)
    for label in LABELS:
        known = [lead["csi_pooled"][label] for lead in per_lead if lead["csi_pooled"][label] is not None]
        whole["csi_lead_mean"][label] = sum(known) / len(known) if known else None
    for key in ("csi_lead_mean",):
        whole["mean"][key] = _mean(whole[key])
    shares = [0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999]
    both = [np.quantile(_kg_m2(field[valid]), shares).tolist() for field in (forecast, target)]
    kinds = ("hits", "misses", "false_alarms", "correct_negatives")
    counts: dict[str, Any] = {
        kind: [[lead["_"][label][kind] for label in LABELS] for lead in per_lead] for kind in kinds
    }
    counts["pixels"] = [int(valid[:, t].sum()) for t in range(leads)]
    whole |= {"quantiles": {"probability": shares, "forecast": both[0], "observed": both[1]}, "counts": counts}
    whole |= {"csi_m": dict(whole["mean"]), "by_lead": per_lead}
    for part in (whole, *per_lead):
        del part["_"]
    return whole


def _part(forecast: Fields, target: Fields, valid: NDArray[np.bool_]) -> dict[str, Any]:
    error = (forecast - target)[valid]
    physical = _kg_m2(forecast[valid]) - _kg_m2(target[valid])
    part: dict[str, Any] = {key: {} for key in ("csi_pooled", "csi_lead_mean", "csi_pool4", "csi_pool16", "pod", "far")}
    part |= {key: {} for key in ("sucr", "bias", "hss", "ets", "fss", "_")}
    for label in LABELS:
        f, o = ((field >= float(label) / CODES.missing) & valid for field in (forecast, target))
        h, m, a = int((f & o).sum()), int((~f & o).sum()), int((f & ~o).sum())
        n = int(valid.sum()) - h - m - a
        part["_"][label] = {"hits": h, "misses": m, "false_alarms": a, "correct_negatives": n}
        chance = (h + m) * (h + a) / (h + m + a + n)
        part["csi_pooled"][label] = part["csi_lead_mean"][label] = _over(h, h + m + a)
        part["pod"][label], part["far"][label], part["sucr"][label] = _over(h, h + m), _over(a, h + a), _over(h, h + a)
        part["bias"][label], part["ets"][label] = _over(h + a, h + m), _over(h - chance, h + m + a - chance)
        part["hss"][label] = _over(2 * (h * n - a * m), (h + m) * (m + n) + (h + a) * (a + n))
        for size in (4, 16):
            pf, po = (_blocks(events, size) > 0 for events in (f, o))
            part[f"csi_pool{size}"][label] = _over(int((pf & po).sum()), int((pf | po).sum()))
        part["fss"][label] = {str(size): _fss(f, o, size) for size in (1, 4, 16, 32)}
    kinds = ("csi_pooled", "csi_lead_mean", "csi_pool4", "csi_pool16")
    return part | {
        "mean": {key: _mean(part[key]) for key in kinds},
        "mse": float(np.square(error).mean()), "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(np.square(error).mean())), "ssim": 1.0 - 8.0 * float(np.abs(error).mean()),
        "physical": {"unit": "kg/m2", "mse": float(np.square(physical).mean()), "mae": float(np.abs(physical).mean()),
                     "rmse": float(np.sqrt(np.square(physical).mean()))},
        "spectrum": _spectrum(forecast, target),
    }  # fmt: skip


def _kg_m2(values: Fields) -> Fields:
    return CODES.from_model(values, "kg/m2")


def _over(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _mean(by_label: dict[str, float | None]) -> float | None:
    known = [value for value in by_label.values() if value is not None]
    return sum(known) / len(known) if known else None


def _blocks(events: NDArray[np.bool_], size: int) -> Fields:
    n, t, h, w = events.shape
    return events.reshape(n, t, h // size, size, w // size, size).mean((3, 5), dtype=np.float32)


def _fss(f: NDArray[np.bool_], o: NDArray[np.bool_], size: int) -> float | None:
    pf, po = _blocks(f, size), _blocks(o, size)
    whole = float(np.square(pf).sum() + np.square(po).sum())
    return 1.0 - float(np.square(pf - po).sum()) / whole if whole else None


def _spectrum(forecast: Fields, target: Fields) -> dict[str, Any]:
    wave = np.rint(np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)) * SIZE).astype(int)
    power = [
        np.bincount(wave.ravel(), np.square(np.abs(np.fft.fft2(field))).mean((0, 1)).ravel())[1 : SIZE // 2 + 1]
        / np.bincount(wave.ravel())[1 : SIZE // 2 + 1]
        / SIZE**4
        for field in (forecast, target)
    ]
    lengths = [SIZE / number for number in range(1, SIZE // 2 + 1)]
    ratio = (power[0] / power[1]).tolist()
    return {"wavelength_km": lengths, "power": power[0].tolist(), "observed": power[1].tolist(), "ratio": ratio}


def _case(
    name: str, which: int, past: Fields, target: Fields, valid: NDArray[np.bool_], forecasts: dict[str, Fields]
) -> Case:
    first = datetime(2019, 6, 10, 0, 4, tzinfo=UTC)
    times = [first + timedelta(minutes=5 * i) for i in range(FRAMES + target.shape[1])]

    def seen(field: Fields) -> Fields:
        return np.where(valid[which, :1], _kg_m2(field[which]), np.float32(np.nan))

    baselines = {key: seen(forecasts[key]) for key in ("persistence", "extrapolation")}
    errors = {key: float(np.square(forecasts[key] - target)[which].mean()) for key in ("model", "persistence")}
    return Case(
        name, f"S80000{which}", times, "kg/m2", GRID, seen(past), seen(target), seen(forecasts["model"]), baselines, errors
    )  # fmt: skip
