"""An object store's folder (s3://bucket/folder), samples by ranges of their shard's object, through fsspec and s3fs.

Credentials, region and endpoint come from where the AWS tools have them (AWS_PROFILE, AWS_ENDPOINT_URL, ~/.aws ...);
FSSPEC_S3_ANON=true reads a public bucket without any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from data_prep.errors import SourceError, UserError, not_installed, without_secrets
from data_prep.shards.sources.local import inside
from data_prep.shards.sources.memory import too_short
from data_prep.shards.sources.ranges import absent, sha256_by_ranges
from data_prep.shards.sources.retry import Retries, TransientError

_ABSENT, _PAST_THE_END = (404, 410), 416
_MAY_PASS = (408, 429)  # and all from 500 on
_CODES_THAT_MAY_PASS = ("RequestTimeout", "SlowDown", "Throttling", "ThrottlingException")

Result = TypeVar("Result")


class ObjectSource:
    """Objects below a prefix of a bucket."""

    local = False
    cache_mb = None

    def __init__(self, url: str, retries: Retries, *, requests: int, timeout_s: float) -> None:
        self.location, self._retries = without_secrets(url), retries
        self._prefix = _prefix(url)
        config = {"max_pool_connections": requests, "connect_timeout": timeout_s, "read_timeout": timeout_s}
        self._store = _store(config | {"retries": {"total_max_attempts": 1}})
        self._store.retries = 1  # attempts are counted here

    def size(self, name: str) -> int | None:
        """Bytes of an object."""
        return int(self._attempts(name, lambda path: self._store.info(path)["size"]))

    def read_all(self, name: str) -> bytes:
        """A small object, whole."""
        return bytes(self._attempts(name, self._store.cat_file))

    def read(self, name: str, offset: int, size: int, into: memoryview | None = None) -> memoryview:
        """Exactly `size` bytes, in `into` if given."""
        if not size:
            return memoryview(b"")
        try:
            blob = self._attempts(name, lambda path: self._store.cat_file(path, start=offset, end=offset + size))
        except _PastTheEndError:
            blob = b""
        if len(blob) != size:
            raise too_short(name, size - len(blob))
        if into is None:
            return memoryview(blob)
        into[:] = blob
        return into

    def sha256(self, name: str) -> str:
        """Hex sha256 of an object, by ranges."""
        return sha256_by_ranges(self, name, self.size(name) or 0)

    def close(self) -> None:
        """Closes the connections."""
        self._retries.close()
        session = getattr(self._store, "_s3creator", None)  # made at the first request
        if session is not None:
            self._store.close_session(self._store.loop, session)

    def _attempts(self, name: str, read: Callable[[str], Result]) -> Result:
        path = f"{self._prefix}/{inside(name, self.location)}"

        def attempt() -> Result:
            try:
                return read(path)
            except Exception as error:  # of botocore, aiohttp and s3fs, dozens of types
                raise _meaning(error, f"s3://{path}") from error

        return self._retries.run(f"{name} of {self.location}", attempt)


class _PastTheEndError(Exception):
    """The range begins after the object's end."""


def _meaning(error: Exception, url: str) -> Exception:
    """What an error of the store means: the object is absent, the attempt may be made again, or not."""
    answer = getattr(error.__cause__, "response", None)
    answer = answer if isinstance(answer, dict) else {}
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = answer.get("Error", {}).get("Code", "")
    words = f"the store answered {status} {code}".rstrip() if status else str(error) or type(error).__name__
    told = without_secrets(words)
    if isinstance(error, FileNotFoundError) or status in _ABSENT:
        return absent(url)
    if status == _PAST_THE_END:
        return _PastTheEndError()
    if status in _MAY_PASS or status >= 500 or code in _CODES_THAT_MAY_PASS or (not status and _of_network(error)):
        return TransientError(told)
    return SourceError(
        f"{url} is refused ({told}); see that AWS_PROFILE or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
        "AWS_ENDPOINT_URL are set on this host, or FSSPEC_S3_ANON=true for a public bucket"
    )


def _of_network(error: Exception) -> bool:
    from botocore import exceptions as known

    network = (
        known.HTTPClientError, known.ConnectionError, known.IncompleteReadError, known.MetadataRetrievalError
    )  # fmt: skip
    return isinstance(error, network) or not isinstance(error, known.BotoCoreError | ValueError | TypeError)


def _prefix(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if "@" in parts.netloc:
        raise UserError(
            f"{without_secrets(url)} was given with a key in it, which would be written down with the run; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if not parts.netloc or parts.query or parts.fragment:
        raise UserError(f"{without_secrets(url)!r} is not a place in a bucket; give s3://bucket/folder")
    return f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")


def _store(config: dict[str, Any]) -> Any:
    try:
        import fsspec
        from s3fs import S3FileSystem  # noqa: F401
    except ImportError as error:
        raise not_installed("reading from s3://", "s3fs", "s3") from error
    return fsspec.filesystem(
        "s3", skip_instance_cache=True, use_listings_cache=False, max_concurrency=1, config_kwargs=config
    )
