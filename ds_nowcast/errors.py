"""Ends of a run beside the user's input (2) and data past its limit (3), which `data_prep.errors` holds."""

from __future__ import annotations

from data_prep.errors import ExpectedError


class DivergedError(ExpectedError):
    """The loss or the gradients are no longer finite."""

    exit_code = 4


class SaveError(ExpectedError):
    """A checkpoint could not be written (a full disk, say); the one before is untouched."""

    exit_code = 3


STOPPED = 75  # a signal asked for an end, and the state was saved (sysexits.h EX_TEMPFAIL: try again)


class NotStartedError(ExpectedError):
    """A signal asked for an end before the first step."""

    exit_code = STOPPED


PEER_LOST = 5  # a rank or a host is gone, or cannot be reached


class PeerLostError(ExpectedError):
    """The other ranks cannot be met."""

    exit_code = PEER_LOST
