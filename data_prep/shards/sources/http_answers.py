"""What a web server's answers mean: what to do about a status, and which bytes came."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit

from data_prep.errors import SourceError, without_secrets
from data_prep.shards.sources.ranges import absent
from data_prep.shards.sources.retry import TransientError

REDIRECTS = (301, 302, 303, 307, 308)
PARTS = (206, 416)  # the answers of a server that knows ranges: a part, or none lies there
_ABSENT = (404, 410)
_MAY_PASS = (408, 425, 429)  # and all from 500 on
_NO_RIGHT = (401, 403, 407)


class Answer(Protocol):
    """Head of an answer."""

    @property
    def status(self) -> int:
        """Status code."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields, whatever the case of their names."""


class Part(NamedTuple):
    """The bytes that came."""

    start: int
    end: int  # exclusive
    total: int | None  # bytes of the whole file, where told


def part_of(answer: Answer) -> Part:
    """Which bytes an answer of PARTS holds. Raises TransientError where it does not say."""
    text = answer.headers.get("Content-Range", "")
    if found := re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", text):
        return Part(int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3]))
    if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        found = re.fullmatch(r"bytes \*/(\d+)", text)
        return Part(0, 0, int(found[1]) if found else 0)
    raise TransientError(f"the server answered {answer.status} with the Content-Range {text!r}")


def length_of(answer: Answer) -> int | None:
    """Bytes of the body, where told."""
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def redirected(url: str, answer: Answer) -> str:
    """Where a redirect leads. Raises SourceError where it must not be followed."""
    allowed = ("https",) if urlsplit(url).scheme == "https" else ("http", "https")
    try:
        target = urljoin(url, answer.headers.get("Location", ""))
        followed = urlsplit(target).scheme in allowed
    except ValueError:
        target, followed = answer.headers["Location"], False
    if not followed:
        raise SourceError(
            f"{without_secrets(url)} redirects to {without_secrets(target)!r}, which is not followed: "
            f"only to {' or '.join(allowed)}; give the final URL"
        )
    return target


def check_status(answer: Answer, url: str, *, ranged: bool) -> None:
    """Raises what an answer without the bytes asked for means: FileNotFoundError, TransientError or SourceError."""
    status = answer.status
    words = f"the server answered {status} {_PHRASES.get(status, '')}".rstrip()
    if status in _ABSENT:
        raise absent(url)
    if status in _MAY_PASS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TransientError(words, _retry_after_s(answer))
    if status in _NO_RIGHT:
        hint = "give https://USER:PASSWORD@host/folder, or a URL whose signature holds for the run"
        raise SourceError(f"{url} is refused: {words}; {hint}")
    if status != HTTPStatus.OK and not (ranged and status in PARTS):
        raise SourceError(f"{url} cannot be read: {words}; see that the URL is right")
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise SourceError(f"{url} comes compressed ({coding}), so its ranges are not the file's; serve it as it is")


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _retry_after_s(answer: Answer) -> float:
    text = answer.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
