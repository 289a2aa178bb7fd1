from __future__ import annotations

import pickle

import pytest

from data_prep.errors import MOST_REASON, RadarFileError, in_words, not_installed, printable


def test_a_file_error_is_one_printable_line_whatever_the_file_is_called_and_holds() -> None:
    error = RadarFileError("a\nb\udcff.h5", "holds \x1b[2Jcôdes\0 of\r\nany kind")
    assert str(error) == r"a\nb\udcff.h5: holds \x1b[2Jcôdes\x00 of\r\nany kind" and str(error).isprintable()
    assert error.path == "a\nb\udcff.h5"  # by which it is known again
    again = pickle.loads(pickle.dumps(error))
    assert (again.path, again.reason, str(again)) == (error.path, error.reason, str(error))


@pytest.mark.parametrize("text", ["9" * 100_000, "\x1b" * 100_000])
def test_a_reason_is_cut_in_its_middle(text: str) -> None:
    reason = RadarFileError("a.h5", f"its formula is {text}; give another").reason
    assert len(reason) == MOST_REASON and reason.startswith("its formula is ") and reason.endswith("; give another")
    assert RadarFileError("a.h5", reason).reason == reason


@pytest.mark.parametrize("most", [None, 60, MOST_REASON])
def test_secrets_of_a_url_are_not_printed(most: int | None) -> None:
    for url in ("https://me:secret@host/a.zarr?key=secret", "https:/me:secret@host/a.zarr"):
        assert printable(f"{url} is gone", most).replace(":/h", "://h") == "https://host/a.zarr is gone"
        assert "secret" not in str(RadarFileError(url, f"{'x' * MOST_REASON}{url}"))
    long = f"https://h/x?{'q' * 1150} https://user:{'S' * 40}@host/a {'y' * 1500}"
    assert "S" not in printable(long, most)
    assert printable("/data/at@home/what?.h5") == "/data/at@home/what?.h5"


def test_what_can_be_printed_stays_as_it_is() -> None:
    assert printable("Météo-France: 0.5 mm·h⁻¹") == "Météo-France: 0.5 mm·h⁻¹"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.h5"), "FileNotFoundError: No such file or directory"),
        (OSError("truncated file\nand more"), "OSError: truncated file"),
        (MemoryError(), "it takes more memory than there is"),
        (EOFError(), "EOFError"),
    ],
)
def test_another_exception_is_told_by_what_it_says(error: Exception, words: str) -> None:
    assert in_words(error) == words


def test_what_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    says = "GeoTIFF needs rasterio, which is not installed; pip install 'ds-nowcast[geotiff]'"
    assert str(not_installed("GeoTIFF", "rasterio", "geotiff")) == says
