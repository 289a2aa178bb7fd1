"""Scores from sums: CSI by threshold, its mean, MSE, MAE, each for any leading axes; differences and skill.

Names: S forecasts, K thresholds, F = 3 K + 3 sums (see `evaluated`), M = K + 3 scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ds_nowcast.comparing.evaluated import Floats


class Score(NamedTuple):
    """One column of what is compared."""

    name: str  # as in scores.json
    threshold: str | None
    label: str  # for people
    perfect: float


def score_list(labels: Sequence[str], unit: str) -> list[Score]:
    """The M scores. labels: of the thresholds."""
    by_threshold = [
        Score("csi_pooled", label, f"CSI {label}{'' if unit == 'code' else f' {unit}'}", 1.0) for label in labels
    ]
    return [
        *by_threshold,
        Score("mean_csi_pooled", None, "mean CSI", 1.0),
        Score("mse", None, "MSE", 0.0),
        Score("mae", None, "MAE", 0.0),
    ]


def events_in(sums_F: Floats) -> Floats:
    """(..., K) observed or forecast events: what CSI is divided by."""
    k = (sums_F.shape[-1] - 3) // 3
    found: Floats = sums_F[..., : 3 * k].reshape(*sums_F.shape[:-1], 3, k).sum(-2)
    return found


def scores_of(sums_F: Floats, scored_SK: NDArray[np.bool_]) -> Floats:
    """(..., S, F) to (..., S, M); NaN where undefined.

    scored_SK: the thresholds with events, over which the mean is taken, as in scores.json. A resample that has lost
    one of them has no mean: it would be one over other thresholds.
    """
    events = events_in(sums_F)
    with np.errstate(divide="ignore", invalid="ignore"):
        csi = sums_F[..., : events.shape[-1]] / events
        mean = np.where(scored_SK, csi, 0.0).sum(-1) / scored_SK.sum(-1)
        errors = sums_F[..., -3:-1] / sums_F[..., -1:]
    return np.concatenate([csi, mean[..., None], errors], -1)


def blocks_behind(sums_NSF: Floats) -> NDArray[np.intp]:
    """(S, M): how many blocks have a part in each score; in the mean of CSI, in the rarest threshold that counts."""
    by_threshold = (events_in(sums_NSF) > 0).sum(0)
    rarest = np.where(by_threshold > 0, by_threshold, len(sums_NSF)).min(-1)
    seen = (sums_NSF[..., -1] > 0).sum(0)
    return np.concatenate([by_threshold, rarest[:, None], seen[:, None], seen[:, None]], -1)


def difference(scores_SM: Floats, reference_M: Floats) -> Floats:
    """Score less the reference's: of leading axes alike."""
    found: Floats = scores_SM - reference_M[..., None, :]
    return found


def skill(scores_SM: Floats, reference_M: Floats, perfect_M: Floats) -> Floats:
    """(score - reference) / (perfect - reference), Wilks 2011, chapter 8; NaN where the reference is perfect."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = difference(scores_SM, reference_M) / (perfect_M - reference_M)[..., None, :]
    return np.where(np.isfinite(found), found, np.nan)
