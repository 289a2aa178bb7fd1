from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from data_prep.errors import UserError
from ds_nowcast.config.nowcast_keys import AugmentOptions
from ds_nowcast.stream import augment

ALL = AugmentOptions(flip=True, rotate=True, crop=None)
POSITIONS = np.arange(4096)


def options(flip: bool = True, rotate: bool = True, crop: int | None = None) -> AugmentOptions:
    return AugmentOptions(flip=flip, rotate=rotate, crop=crop)


def images(batch: int, rows: int = 9, columns: int = 9) -> torch.Tensor:
    """Samples of three frames, every pixel of a frame different, frames a constant apart."""
    pixels = torch.randperm(200)[: rows * columns].reshape(1, 1, rows, columns)
    return (pixels + torch.arange(3).reshape(1, 3, 1, 1) + torch.arange(batch).reshape(-1, 1, 1, 1)).to(torch.uint8)


def test_decisions_never_change_between_versions() -> None:
    drawn = augment.draw(7, np.array([0, 1, 2, 3, 10**12]), (64, 64), options(crop=48))
    assert drawn.flip.tolist() == [False, False, False, True, True]
    assert drawn.turns.tolist() == [1, 3, 3, 2, 2]
    assert drawn.top.tolist() == [2, 2, 11, 11, 7]
    assert drawn.left.tolist() == [12, 1, 5, 13, 6]


def test_a_sample_is_augmented_alike_in_any_batch() -> None:
    codes, positions, crop = images(12), np.arange(100, 112), options(crop=6)
    whole = augment.apply(codes, augment.draw(3, positions, (9, 9), crop))
    for step in (1, 5):  # batches of 1 and 5, and a rank's share of every third
        parts = [slice(start, start + step) for start in range(0, 12, step)]
        pieces = [augment.apply(codes[part], augment.draw(3, positions[part], (9, 9), crop)) for part in parts]
        assert torch.equal(torch.cat(pieces), whole)
    share = augment.draw(3, torch.from_numpy(positions[1::3]), (9, 9), crop)
    assert torch.equal(augment.apply(codes[1::3], share), whole[1::3])


def test_all_eight_symmetries_occur_about_equally() -> None:
    drawn = augment.draw(0, POSITIONS, (64, 64), ALL)
    counts = np.bincount(drawn.turns + 4 * drawn.flip, minlength=8)
    assert counts.sum() == 4096 and np.all(np.abs(counts - 512) < 5 * 21)  # 21: binomial standard deviation


def test_neighbours_seeds_and_decisions_are_independent() -> None:
    drawn, other = (augment.draw(seed, POSITIONS, (64, 64), options(crop=1)) for seed in (0, 1))
    columns = [column.astype(float) for column in (drawn.flip, drawn.turns, drawn.top, drawn.left)]
    others = [column.astype(float) for column in (other.flip, other.turns, other.top, other.left)]
    pairs = [(a, b) for i, a in enumerate(columns) for b in columns[:i]]
    pairs += [(column[1:], column[:-1]) for column in columns]
    pairs += zip(columns, others, strict=True)
    assert all(abs(np.corrcoef(a, b)[0, 1]) < 5 / 64 for a, b in pairs)


def test_crop_windows_lie_inside_and_are_spread_evenly() -> None:
    drawn = augment.draw(5, POSITIONS, (20, 12), options(crop=9))
    assert drawn.shape == (9, 9)
    for offsets, choices in ((drawn.top, 12), (drawn.left, 4)):
        counts = np.bincount(offsets, minlength=choices)
        expected = 4096 / choices
        assert len(counts) == choices and np.all(np.abs(counts - expected) < 5 * expected**0.5)


def test_each_sample_is_cropped_mirrored_and_turned_as_drawn() -> None:
    codes = images(64)
    drawn = augment.draw(1, np.arange(64), (9, 9), options(crop=5))
    out = augment.apply(codes, drawn).numpy()
    assert {(bool(f), int(t)) for f, t in zip(drawn.flip, drawn.turns, strict=True)} == {
        (flip, turns) for flip in (False, True) for turns in range(4)
    }
    for b in range(64):
        top, left = drawn.top[b], drawn.left[b]
        expected = codes[b].numpy()[:, top : top + 5, left : left + 5]
        expected = expected[..., ::-1] if drawn.flip[b] else expected
        np.testing.assert_array_equal(out[b], np.rot90(expected, drawn.turns[b], (1, 2)))


def test_missing_pixels_move_with_their_image() -> None:
    codes = images(16)
    hole = codes == codes[:, :1, 2:3, 6:7]
    marked = torch.where(hole, 255, codes)
    drawn = augment.draw(2, np.arange(16), (9, 9), ALL)
    assert torch.equal(augment.apply(marked, drawn) == 255, augment.apply(hole, drawn))
    assert torch.equal(augment.apply(marked, drawn).flatten(1).sort().values, marked.flatten(1).sort().values)


def test_sixteen_bit_codes_are_augmented_like_eight_bit_ones() -> None:
    codes, drawn = images(8), augment.draw(2, np.arange(8), (9, 9), options(crop=7))
    wide = augment.apply(codes.to(torch.uint16), drawn)
    assert wide.dtype == torch.uint16 and torch.equal(wide.to(torch.uint8), augment.apply(codes, drawn))


def test_what_is_switched_off_does_not_happen() -> None:
    codes = images(32)
    plain = augment.draw(0, np.arange(32), (9, 9), options(flip=False, rotate=False))
    assert augment.apply(codes, plain) is codes
    mirrored = augment.apply(codes, augment.draw(0, np.arange(32), (9, 9), options(rotate=False)))
    same, flipped = (mirrored == codes).flatten(1).all(1), (mirrored == codes.flip(-1)).flatten(1).all(1)
    assert (same ^ flipped).all() and same.any() and flipped.any()


def test_switching_one_decision_off_leaves_the_others_as_they_were() -> None:
    every, unturned = (augment.draw(0, POSITIONS, (32, 32), options(rotate=rotate, crop=9)) for rotate in (True, False))
    for name in ("flip", "top", "left"):
        np.testing.assert_array_equal(getattr(every, name), getattr(unturned, name))


def test_large_seeds_and_positions_draw_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        augment.draw(2**64 + 5, np.array([0, 2**62]), (8, 8), ALL)


@pytest.mark.parametrize(
    ("shape", "chosen", "message"),
    [
        ((96, 128), options(), "96 x 128 pixels; set rotate to false, or crop to 96 or less"),
        ((96, 128), options(crop=100), "crop=100 is larger than the samples' 96 x 128 pixels; give 96 or less"),
    ],
)
def test_what_the_images_do_not_allow_is_refused(shape: tuple[int, int], chosen: AugmentOptions, message: str) -> None:
    with pytest.raises(UserError, match=message):
        augment.draw(0, POSITIONS, shape, chosen)


def test_the_shape_after_augmentation_is_known_beforehand() -> None:
    assert augment.augmented_shape((96, 128), options(crop=64)) == (64, 64)
    assert augment.augmented_shape((96, 128), options(rotate=False)) == (96, 128)
