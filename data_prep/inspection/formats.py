"""Which format an archive has, found out by asking the readers whose files are called so.

They are asked in workers: a C library may crash on a file of another format.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from data_prep.errors import RadarFileError, UserError
from data_prep.readers import READERS, Each, reader_named
from data_prep.readers.file_reader import FileReader
from data_prep.readers.files import fits
from data_prep.readers.tars import is_tar
from data_prep.workers import reading

_ASKED = 3  # files of each format


def find_format(sources: Sequence[str], each: Each) -> str:
    """The name of the one format that `sources` can be read as.

    each: by which files are opened. Raises UserError where none or several can, with what each of them said.
    """
    reasons = {name: _why_not(name, sources, each) for name in READERS}
    found = [name for name in READERS if reasons[name] == ""]
    if len(found) == 1:
        return found[0]
    what = f"{sources[0]} and {len(sources) - 1} more" if len(sources) > 1 else sources[0]
    if found:
        raise UserError(f"{what} can be read as {' and as '.join(found)}; give --format with the right one")
    said = [f"{name}: {why}" for name, why in reasons.items() if why]
    others = "no other format has files that are called so" if said else "no format has files that are called so"
    raise UserError(
        f"{what} is neither a shards folder nor an archive of a known format ({'; '.join([*said, others])}); give another "
        f"place, or --format with one of {', '.join(READERS)}"
    )


def _why_not(name: str, sources: Sequence[str], each: Each) -> str | None:
    """Why a format cannot be that of the sources: empty where it can, None where no file is called like its files."""
    try:
        reader = reader_named(name)
        if not isinstance(reader, FileReader):
            reader.scan(sources, None, each)
            return ""
    except UserError as error:
        return str(error).removeprefix("--source ").split("; ")[0]
    files = _some_files(reader, sources)
    try:
        if files:
            reader.require_modules()
    except UserError as error:
        return str(error).replace("; ", ": ")
    whys = [answer.reason for answer in each(partial(_ask, reader), files) if isinstance(answer, RadarFileError)]
    if not files:
        return None
    return "" if len(whys) < len(files) else whys[0]


def _some_files(reader: FileReader, sources: Sequence[str]) -> list[Path]:
    """A few of the files that are called as the format's are."""
    try:
        files = reader.files(sources)
    except UserError:
        return []
    named = [path for path in files if path.is_dir() or is_tar(path) or fits(path.name, reader.patterns)]
    return sorted({named[i * (len(named) - 1) // (_ASKED - 1)] for i in range(_ASKED)}) if named else []


def _ask(reader: FileReader, path: Path) -> None:
    """Raises RadarFileError where the reader cannot use the file."""
    with reading(f"{path} as {reader.name}"):  # not the label that other formats' readers give it, should this one die
        try:
            reader.recognise(path)
        except RadarFileError:
            raise
        except UserError as error:
            raise RadarFileError(path, str(error)) from error
        except OSError as error:
            raise RadarFileError(path, error.strerror or str(error)) from error
