"""Skill: how far a forecast comes from a reference's score to the perfect one (Wilks 2011, section 8.1.4)."""

from __future__ import annotations

from typing import Any

PERFECT = {"mse": 0.0, "mae": 0.0, "csi_pooled": 1.0, "csi_lead_mean": 1.0}


def skill(score: float | None, reference: float | None, perfect: float) -> float | None:
    """(score - reference) / (perfect - reference): 1 is perfect, 0 the reference's, negative below it.

    None where a score is undefined or the reference is perfect already.
    """
    if score is None or reference is None or reference == perfect:
        return None
    return (score - reference) / (perfect - reference)


def skills(model: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """Skill in each of the scores that have a perfect value: of errors, and by threshold of both CSIs."""
    found: dict[str, Any] = {}
    for name, perfect in PERFECT.items():
        ours, theirs = model[name], reference[name]
        if isinstance(ours, dict):
            found[name] = {label: skill(value, theirs[label], perfect) for label, value in ours.items()}
        else:
            found[name] = skill(ours, theirs, perfect)
    return found
