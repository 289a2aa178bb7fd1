"""Views as JSON for scripts: keys stay what they are, lengths and times say their units."""

from __future__ import annotations

from typing import Any

from data_prep.frames import Grid
from data_prep.inspection.archive import ArchiveView, ProductView
from data_prep.inspection.folder import FolderView, SplitView
from data_prep.inspection.places import Places
from data_prep.shards.index import Split
from data_prep.times import iso


def archive_json(view: ArchiveView) -> dict[str, Any]:
    """An archive. `kind` is "archive"."""
    return {
        "kind": "archive",
        "format": view.format,
        "format_tried": view.tried,
        "products": [_product(product) for product in view.products],
    }


def _product(view: ProductView) -> dict[str, Any]:
    return {
        "product": view.product.name,
        "unit": view.product.unit,
        "cadence_s": view.cadence_s,
        "frames": view.frames,
        "files": view.files,
        "events": view.events,
        "first_time": iso(view.first) if view.first else None,
        "last_time": iso(view.last) if view.last else None,
        "runs": view.runs,
        "gaps": [
            {"after": iso(gap.after), "before": iso(gap.before), "frames": gap.frames, "event": gap.event}
            for gap in view.gaps
        ],
        "left_out": view.left_out.by_count(),
        "left_out_examples": [
            {"what": what, "reason": reason, "detail": detail} for what, reason, detail in view.left_out.examples
        ],
        "grids": [_grid(grid) for grid in view.grids],
        "where": _places(view.places),
        "looked_at": {
            "frames": view.looked_at,
            "encoding": view.product.encoding,
            "code_counts": view.tally.code_counts,
            **view.statistics.model_dump(mode="json"),
        },
    }


def _grid(grid: Grid) -> dict[str, Any]:
    return {**grid.to_dict(), "unit": grid.unit}


def _places(places: Places) -> dict[str, Any]:
    return {
        "places": places.distinct,
        "corners_lonlat": {name: list(at) if at else None for name, at in places.corners.items()},
        "box": places.box and {name: round(value, 5) for name, value in places.box._asdict().items()},
        "unknown": places.unknown,
    }


def folder_json(view: FolderView) -> dict[str, Any]:
    """A shards folder. `kind` is "shards"."""
    index = view.shards.index
    plain = (
        "archive", "unit", "cadence_s", "frames", "shape", "pixel", "pixel_unit", "encoding", "codec", "frames_per_chunk",
        "archive_shape", "archive_pixel", "importance", "guard_s", "left_out",
    )  # fmt: skip
    return {
        "kind": "shards",
        "location": view.shards.source.location,
        "index_sha256": view.shards.hash,
        **index.model_dump(mode="json", include=set(plain)),
        "builds": len(index.builds),
        "where": _places(view.places),
        "splits": {name: _split(index.splits[name], seen) for name, seen in view.splits.items()},
    }


def _split(split: Split, seen: SplitView) -> dict[str, Any]:
    probabilities = [sample.probability for sample in seen.samples]
    return {
        "samples": split.samples,
        "shards": len(split.shards),
        "bytes": sum(shard.bytes for shard in split.shards),
        "first_time": split.first_time,
        "last_time": split.last_time,
        "code_counts": split.code_counts,
        "statistics": split.statistics.model_dump(mode="json"),
        "looked_at": len(seen.samples),
        "gaps": [
            {"after": iso(hole.after), "before": iso(hole.before), "seconds": round(hole.length.total_seconds())}
            for hole in seen.holes
        ],
        "probability": {"min": min(probabilities), "mean": sum(probabilities) / len(probabilities)},
    }
