"""Moments as all of this has them: in UTC, written as 2019-06-01T12:05:00Z."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(time: datetime) -> datetime:
    """The same moment with the zone UTC; a time without a zone is taken as UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def iso(time: datetime) -> str:
    """2019-06-01T12:05:00Z."""
    return utc(time).strftime("%Y-%m-%dT%H:%M:%SZ")
