"""Files that are whole or not there, and paths that stay inside the folder given."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from data_prep.errors import DataError, UserError


def write_atomically(path: Path, content: bytes | Iterable[bytes | memoryview]) -> None:
    """Writes aside, flushes to disk, renames: a reader sees the old file or the new one, never a part.

    content: whole, or piece by piece. Raises OSError (a full disk, say) with nothing left beside `path`.
    """
    aside = path.with_name(f".{path.name}.partial")
    try:
        with open(aside, "wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_new(path: Path, content: bytes) -> None:
    """As `write_atomically`, but of several processes that do it at once one succeeds: FileExistsError for the others."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        write_atomically(aside, content)
        os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def check_writable(path: Path, *endings: str) -> None:
    """Raises UserError where no file can be written there: better before the work than after it.

    endings: those that say what the file is, such as ".png"; none leaves its name free.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UserError(f"{path} cannot be written: {folder} is not a folder; make it first")
    if path.is_dir():
        example = path / f"forecast{endings[0] if endings else ''}"
        raise UserError(f"{path} is a folder; give the name of the file to write, such as {example}")
    if endings and path.suffix.lower() not in endings:
        raise UserError(
            f"{path} is not called like what is written there; give a name that ends in {' or '.join(endings)}"
        )


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Around what writes files: where the disk does not take one, DataError names it, or `where` if that is not known."""
    try:
        yield
    except OSError as error:
        says = f"{error.filename or where} cannot be written: {error.strerror or error}"
        raise DataError(f"{says}; mend it, then run the same again") from None


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def format_version(content: bytes) -> int | None:
    """What a JSON object says under that name, None where it says no number: one of another version is not damaged."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    version = document.get("format_version") if isinstance(document, dict) else None
    return version if type(version) is int else None


def is_inside(name: str) -> bool:
    """Whether a relative posix name from a catalog or an index stays inside the folder it is relative to."""
    path = PurePosixPath(name)
    return (
        bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in name
    )
