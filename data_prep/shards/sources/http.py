"""A web server's folder: samples by Range, or, from a server that knows no Range, whole shards through the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from data_prep.errors import SourceError, UserError, not_installed, without_secrets
from data_prep.shards.sources.cache import CachedSource, Download
from data_prep.shards.sources.cache_folder import CacheFolder
from data_prep.shards.sources.http_answers import REDIRECTS, check_status, length_of, part_of, redirected
from data_prep.shards.sources.local import inside
from data_prep.shards.sources.memory import ThreadMemory, too_short
from data_prep.shards.sources.ranges import sha256_by_ranges
from data_prep.shards.sources.retry import Retries, TransientError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_PIECE = 1 << 20
_MOST_REDIRECTS = 5
_WORTH_DRAINING = 1 << 16  # a longer rest of an unwanted answer costs more than a new connection

Result = TypeVar("Result")


class NoRangesError(Exception):
    """The server answers a request for a part with the whole."""


class HttpFiles:
    """Files below a URL. One call is one attempt: raises FileNotFoundError, TransientError, or SourceError at once."""

    def __init__(self, url: str, *, requests: int, timeout_s: float) -> None:
        self._urllib3, self._timeout_s = _require_urllib3(), timeout_s
        self.location = without_secrets(url)
        parts = self._parsed(url)
        self._credentials, _, host = parts.netloc.rpartition("@")
        self._base = parts._replace(netloc=host, fragment="")
        options = {"maxsize": requests, "block": True, "retries": False, "timeout": timeout_s}
        proxy = getproxies().get(parts.scheme)
        if proxy and not proxy_bypass(host):
            self._pool = self._urllib3.ProxyManager(proxy, **options)
        else:
            self._pool = self._urllib3.PoolManager(**options)

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where the server does not say."""
        with self._answer(name) as answer:
            return length_of(answer)

    def size_by_range(self, name: str) -> int | None:
        """As `size`. Raises NoRangesError where the server knows no ranges."""
        with self._answer(name, "bytes=0-0") as answer:
            if answer.status == HTTPStatus.OK:
                raise NoRangesError
            return part_of(answer).total

    def read_range(self, name: str, offset: int, into: memoryview) -> None:
        """Fills `into` from `offset` on. Raises ValueError where the file is shorter, NoRangesError."""
        end = offset + len(into)
        with self._answer(name, f"bytes={offset}-{end - 1}") as answer:
            if answer.status == HTTPStatus.OK:
                raise NoRangesError
            part = part_of(answer)
            if part.total is not None and part.total < end:
                raise too_short(name, min(end - part.total, len(into)))
            if (part.start, part.end) != (offset, end) or length_of(answer) not in (None, len(into)):
                raise TransientError(
                    f"the server sent the bytes {part.start}-{part.end - 1} ({length_of(answer)} in all) "
                    f"for the bytes {offset}-{end - 1} asked for"
                )
            _read_into(answer, into)

    @contextmanager
    def opened(self, name: str) -> Iterator[Download]:
        """Begins a download of a whole file."""
        with self._answer(name) as answer:
            yield Download(length_of(answer), answer.stream(_PIECE, decode_content=False))

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    @contextmanager
    def _answer(self, name: str, byte_range: str = "") -> Iterator[BaseHTTPResponse]:
        """The answer 200, or 206 and 416 to a request for a range, its body unread; all else is raised."""
        answer = None
        try:
            url, answer = self._followed(name, byte_range)
            check_status(answer, without_secrets(url), ranged=bool(byte_range))
            yield answer
        except self._urllib3.exceptions.HTTPError as error:
            raise self._failure(error) from error
        finally:
            if answer is not None:
                _let_go(answer)

    def _followed(self, name: str, byte_range: str) -> tuple[str, BaseHTTPResponse]:
        """The answer at the end of redirects, and its URL."""
        path = f"{self._base.path.rstrip('/')}/{quote(inside(name, self.location))}"
        url = self._base._replace(path=path).geturl()
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._request(url, byte_range)
            if answer.status not in REDIRECTS:
                return url, answer
            try:
                url = redirected(url, answer)
            finally:
                _let_go(answer)
        raise SourceError(f"{self.location} redirects more than {_MOST_REDIRECTS} times; give the final URL")

    def _request(self, url: str, byte_range: str) -> BaseHTTPResponse:
        headers = {"Accept-Encoding": "identity", "User-Agent": "ds-nowcast"}
        if byte_range:
            headers["Range"] = byte_range
        if self._credentials and urlsplit(url).netloc == self._base.netloc:  # another host is not told the password
            headers |= self._urllib3.make_headers(basic_auth=unquote(self._credentials))
        answer: BaseHTTPResponse = self._pool.request(
            "GET", url, headers=headers, preload_content=False, redirect=False
        )
        return answer

    def _failure(self, error: Exception) -> TransientError | SourceError:
        known = self._urllib3.exceptions
        told = without_secrets(str(error))
        if isinstance(error, known.SSLError) and "CERTIFICATE_VERIFY_FAILED" in told:
            return SourceError(
                f"{self.location} is not trusted ({told}); set SSL_CERT_FILE to its authority's certificate"
            )
        if isinstance(error, known.NewConnectionError):
            return TransientError(f"there is no connection ({told.rpartition(': ')[2]})")
        if isinstance(error, known.TimeoutError):
            return TransientError(f"nothing came for {self._timeout_s:g} s")
        return TransientError(f"the connection broke ({told})")

    def _parsed(self, url: str) -> Any:
        try:
            parts = urlsplit(url)
            self._urllib3.util.parse_url(url)
            usable = bool(parts.hostname) and parts.port != 0 and not any(c.isspace() or ord(c) < 32 for c in url)
        except ValueError:  # a port that is no number, brackets without an address
            usable = False
        if not usable:
            raise UserError(f"{self.location!r} is not a URL; give one such as https://host/folder")
        return parts


class HttpSource:
    """Samples by Range. Of a server that knows none whole shards are fetched into the cache, once it is found out."""

    local = False

    def __init__(self, files: HttpFiles, cache: CacheFolder, retries: Retries) -> None:
        self.location = files.location
        self._files, self._retries = files, retries
        self._whole = CachedSource(files, cache, retries)
        self._ranges = True
        self._memory = ThreadMemory()

    @property
    def cache_mb(self) -> int | None:
        """Size of the cache, None as long as the server sends ranges: ask after `size` of a shard."""
        return None if self._ranges else self._whole.cache_mb

    def size(self, name: str) -> int | None:
        """Bytes of a file; finds out whether the server sends ranges."""
        return self._either(name, lambda: self._files.size_by_range(name), lambda: self._whole.size(name))

    def read_all(self, name: str) -> bytes:
        """A small file, whole."""
        return self._whole.read_all(name)

    def read(self, name: str, offset: int, size: int, into: memoryview | None = None) -> memoryview:
        """Exactly `size` bytes, in `into` or valid until this thread reads again."""

        def by_range() -> memoryview:
            blob = self._memory(size) if into is None else into
            if size:
                self._files.read_range(name, offset, blob)
            return blob

        return self._either(name, by_range, lambda: self._whole.read(name, offset, size, into))

    def sha256(self, name: str) -> str:
        """Hex sha256 of a file: by ranges, so that a broken connection costs a piece, not the file."""
        size = self.size(name) if self._ranges else None
        if size is None or not self._ranges:
            return self._whole.sha256(name)
        return sha256_by_ranges(self, name, size)

    def close(self) -> None:
        """Closes connections and files."""
        self._whole.close()
        self._files.close()

    def _either(self, name: str, by_range: Callable[[], Result], whole: Callable[[], Result]) -> Result:
        if self._ranges:
            try:
                return self._retries.run(f"{name} of {self.location}", by_range)
            except NoRangesError:
                self._ranges = False
        return whole()


def _require_urllib3() -> Any:
    try:
        import urllib3
    except ImportError as error:
        raise not_installed("reading from a web server", "urllib3", "http") from error
    return urllib3


def _read_into(answer: BaseHTTPResponse, into: memoryview) -> None:
    got = 0
    while got < len(into):
        piece = answer.read(min(_PIECE, len(into) - got), decode_content=False)
        if not piece:
            raise TransientError(f"the connection broke {len(into) - got} bytes before the end")
        into[got : got + len(piece)] = piece
        got += len(piece)


def _let_go(answer: BaseHTTPResponse) -> None:
    """Gives the connection back: for use again where its answer was read, or nearly."""
    if answer.length_remaining is not None and answer.length_remaining <= _WORTH_DRAINING:
        answer.drain_conn()
    answer.close()
    answer.release_conn()
