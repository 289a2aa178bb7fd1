"""Times in the names of files and in metadata, which have no one form."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

YEARS = range(1950, 2100)  # weather radars exist since then; times of damaged files are anywhere
# 201609281445[30], 20160928-1445, 20160928T144530, 2016-09-28 14:45:30.000, 2016:09:28 14:45:30; then Z or +02:00
_STAMP = re.compile(
    r"(?<!\d)(\d{4})([-:/.]?)(\d\d)\2(\d\d)[-_T ]?(\d\d)([-:]?)(\d\d)(?:\6(\d\d))?(?:\.\d+)?(?!\d)"
    r"(?: ?(?:Z|UTC)|([+-])(\d\d):?(\d\d)(?!\d))?"
)
_FIELDS = {"Y": r"\d{4}", "m": r"\d\d", "d": r"\d\d", "H": r"\d\d", "M": r"\d\d", "S": r"\d\d", "j": r"\d{3}", "y": r"\d\d"}  # fmt: skip
_MOST_STARS = 3  # a match's work grows with their power


def times_in(text: str) -> set[datetime]:
    """The times, UTC, that a text holds. Without a zone they are in UTC; numbers that are no time are passed over."""
    found = set[datetime]()
    for stamp in _STAMP.finditer(text):
        year, month, day, hour, minute = (int(stamp[i]) for i in (1, 3, 4, 5, 7))
        if year not in YEARS:
            continue
        try:
            local = datetime(year, month, day, hour, minute, int(stamp[8] or 0), tzinfo=UTC)
        except ValueError:
            continue
        east = timedelta(hours=int(stamp[10] or 0), minutes=int(stamp[11] or 0))
        found.add(local + east if stamp[9] == "-" else local - east)
    return found


def time_by(form: str, name: str) -> datetime | None:
    """The time, UTC, in a name of the form given: `%Y %m %d %H %M %S`, `%j` (day of the year), `%y`, and `*` for anything.

    None where the name is not of that form. Raises ValueError where the form gives no time of day.
    """
    parts = re.split(r"(%[YmdHMSjy]|\*)", form)
    keys = [part[1] for part in parts[1::2] if part != "*"]
    if parts.count("*") > _MOST_STARS:
        raise ValueError(f"time format {form!r} has more than {_MOST_STARS} *")
    needed = ({"Y"}, {"y"}), ({"m", "d"}, {"j"}), ({"H"},)
    if len(set(keys)) < len(keys) or not all(any(one <= set(keys) for one in either) for either in needed):
        raise ValueError(f"time format {form!r} is not one like '*_%Y%m%d%H%M*', with each of its parts once")
    pattern = "".join(
        re.escape(part) if i % 2 == 0 else "[^/]*?" if part == "*" else f"(?P<{part[1]}>{_FIELDS[part[1]]})"
        for i, part in enumerate(parts)
    )
    match = re.fullmatch(pattern, name)
    if not match:
        return None
    got = {key: int(value) for key, value in match.groupdict().items()}
    year = got["Y"] if "Y" in got else 2000 + got["y"]
    try:
        time = datetime(year, got.get("m", 1), got.get("d", 1), got["H"], got.get("M", 0), got.get("S", 0), tzinfo=UTC)
        time += timedelta(days=got.get("j", 1) - 1)
    except (ValueError, OverflowError):
        return None
    return time if time.year == year else None
