"""From shard codes to what a model sees and is judged by: [0, 1] by a look-up table on the device, and a mask."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from data_prep.encoding import Encoding
from data_prep.errors import UserError
from ds_nowcast.config.nowcast_keys import Thresholds


class Windows(NamedTuple):
    """A batch in model space. A pixel without data is 0 in `past` and `target` and False in `valid` and `seen`."""

    past_BTHW: torch.Tensor  # float32 in [0, 1], the input frames
    target_BTHW: torch.Tensor  # float32 in [0, 1], the output frames
    valid_BTHW: torch.Tensor  # bool, where the target was observed
    seen_BHW: torch.Tensor  # bool, where the last input frame was observed
    past_seen_BTHW: torch.Tensor | None = None  # bool, where each input frame was observed; None: as the last one

    @property
    def past_seen(self) -> torch.Tensor:
        """Where each input frame was observed, (B, T, H, W)."""
        if self.past_seen_BTHW is None:
            return self.seen_BHW[:, None].expand(self.past_BTHW.shape)
        return self.past_seen_BTHW


class ModelSpace:
    """The look-up table of an encoding on a device."""

    def __init__(self, encoding: Encoding, input_frames: int, device: torch.device) -> None:
        self._table = torch.from_numpy(encoding.model_table()).to(device)
        self.encoding, self.missing, self._input_frames = encoding, encoding.missing, input_frames

    def windows(self, codes_BTHW: torch.Tensor) -> Windows:
        """Codes on the device, input and output frames, as a batch."""
        values = self.values(codes_BTHW)
        observed = codes_BTHW < self.missing
        n = self._input_frames
        return Windows(values[:, :n], values[:, n:], observed[:, n:], observed[:, n - 1], observed[:, :n])

    def values(self, codes_BTHW: torch.Tensor, out_BTHW: torch.Tensor | None = None) -> torch.Tensor:
        """Codes on the device as float32 in [0, 1], 0 where there is no data; into `out_BTHW` where one is given."""
        if codes_BTHW.device.type != "cpu":
            values_BTHW = self._table[codes_BTHW.int()]
            return values_BTHW if out_BTHW is None else out_BTHW.copy_(values_BTHW)
        if out_BTHW is None:
            out_BTHW = torch.empty(codes_BTHW.shape, dtype=torch.float32)
        # The table's own division, an image at a time that stays in the cache: twice as fast as looking values up. By
        # numpy, for torch would call its threads together for each, and wait for cores that are decoding.
        shape_HW, highest = codes_BTHW.shape[2:], np.float32(self.missing)
        images = codes_BTHW.flatten(0, 1).numpy(), out_BTHW.view(-1, *shape_HW).numpy()
        seen_HW, kept_HW = np.empty(shape_HW, np.uint8), np.empty(shape_HW, images[0].dtype)
        for codes_HW, out_HW in zip(*images, strict=True):
            np.less(codes_HW, self.missing, out=seen_HW.view(bool))
            np.multiply(codes_HW, seen_HW, out=kept_HW)
            np.divide(kept_HW, highest, out=out_HW, dtype=np.float32)
        return out_BTHW


def thresholds_of(encoding: Encoding, unit: str, given: Thresholds | None) -> Thresholds:
    """The thresholds to score by: those given, or the encoding's customary ones, preferring the archive's unit."""
    if given is None:
        unit = unit if unit in encoding.thresholds else next(iter(encoding.thresholds))
        return Thresholds(unit=unit, values=list(map(float, encoding.thresholds[unit])))
    allowed = (*encoding.units, "code")
    if given.unit not in allowed:
        raise UserError(
            f"nowcast.evaluation.thresholds.unit is {given.unit!r}; shards of encoding {encoding.name} have {', '.join(allowed)}"
        )
    return given


def in_model_space(encoding: Encoding, thresholds: Thresholds) -> torch.Tensor:
    """(K,) float32 thresholds in model space."""
    return torch.tensor([encoding.to_model(value, thresholds.unit) for value in thresholds.values], dtype=torch.float32)


def threshold_labels(thresholds: Thresholds) -> list[str]:
    """Keys of the scores: the thresholds as text, with as many digits as tell them apart."""
    return [repr(float(value)).removesuffix(".0") for value in thresholds.values]
