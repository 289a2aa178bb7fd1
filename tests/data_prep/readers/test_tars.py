"""Files as they come: tars of every kind and what is no file at all, read within bounds and named where they are not."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import RadarFileError
from data_prep.readers import tars, unpacking
from data_prep.readers.files import RadarFile
from data_prep.readers.tars import tar_member, tar_members

HEADER_SIZE, HEADER_CHECKSUM, HEADER_KIND = slice(124, 136), slice(148, 156), slice(156, 157)


def tar(*names: str, content: bytes = b"radar", kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in names:
            item = tarfile.TarInfo(name)
            item.type, item.linkname = kind, "/etc/passwd"
            item.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(item, io.BytesIO(content))
    return out.getvalue()


def forged(size: int, kind: bytes) -> bytes:
    """A tar whose one header says to be of that kind and size."""
    content = bytearray(tar("a.h5"))
    content[HEADER_SIZE], content[HEADER_KIND], content[HEADER_CHECKSUM] = b"%011o\0" % size, kind, b" " * 8
    content[HEADER_CHECKSUM] = b"%06o\0 " % sum(content[:512])
    return bytes(content)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_member_is_given_by_its_name_and_nothing_is_written_elsewhere(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = tar("a.h5", "../up.h5", "/tmp/absolute.h5")
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert tar_members(path) == ["a.h5", "../up.h5", "/tmp/absolute.h5"]
    assert [tar_member(path, one) for one in tar_members(path)] == [b"radar"] * 3
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(RadarFileError, match=r"holds no file 'b.h5'"):
        tar_member(path, "b.h5")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_links_pipes_and_devices_in_a_tar_are_no_files(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(tar("a.h5", kind=kind))
    assert tar_members(tmp_path / "a.tar") == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (forged(1 << 30, tarfile.REGTYPE), "a file in it is larger than it is"),
        (forged(1 << 30, tarfile.XHDTYPE), "a header in it has 1073741824 bytes"),
        (forged(1 << 30, tarfile.GNUTYPE_LONGNAME), "a header in it has 1073741824 bytes"),
        (forged(1 << 30, tarfile.XGLTYPE), "a header in it has 1073741824 bytes"),
        (tar("n" * 300 + ".h5"), "a name in it has more than 255 characters"),
        (b"no tar" * 1000, "cannot be read as a tar"),
    ],
)
def test_a_forged_tar_is_refused_before_anything_is_allocated(tmp_path: Path, content: bytes, reason: str) -> None:
    for name, some in (("a.tar", content), ("a.tar.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(some)
        with pytest.raises(RadarFileError, match=reason):
            tar_members(tmp_path / name)


def test_a_tar_of_too_many_files_or_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "MOST_MEMBERS", 3)
    path = tmp_path / "a.tar"
    path.write_bytes(tar("a", "b", "c"))
    assert len(tar_members(path)) == 3
    path.write_bytes(tar("a", "b", "c", "d"))
    with pytest.raises(RadarFileError, match="holds more than 3 files; split it"):
        tar_members(path)
    monkeypatch.setattr(unpacking, "MOST_BYTES", 10_000)
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(tar(*"abc")))  # all of a tar counts, headers and what fills it up too
    with pytest.raises(RadarFileError, match="holds more than 10000 bytes once it is unpacked"):
        tar_members(packed)


def test_each_member_of_a_compressed_tar_is_had_without_unpacking_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, unpacked, all_of = tmp_path / "a.tar.gz", list[str](), unpacking.unpacked

    def noted(file: Any, name: str) -> bytes:
        unpacked.append(name)
        return all_of(file, name)

    monkeypatch.setattr(tars, "unpacked", noted)
    path.write_bytes(gzip.compress(tar("a", "b", "c", content=gzip.compress(b"radar"))))
    assert [RadarFile(path, name).content for name in tar_members(path)] == [b"radar"] * 3
    assert unpacked.count(str(path)) == 1


def test_a_pipe_or_a_device_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.h5")
    (tmp_path / "b.h5").symlink_to("/dev/zero")
    for name in ("a.h5", "b.h5"):
        with pytest.raises(RadarFileError, match="is a pipe or a device"):
            _ = RadarFile(tmp_path / name).path
