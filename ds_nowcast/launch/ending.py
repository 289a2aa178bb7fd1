"""How a command runs as one of many ranks: the options all commands share, and one end for all when something is wrong."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from torch._C._distributed_c10d import Store

from data_prep.console import INTERRUPTED, ends_politely
from data_prep.errors import ExpectedError
from ds_nowcast.errors import PEER_LOST
from ds_nowcast.launch.beats import Failure
from ds_nowcast.launch.board import Board
from ds_nowcast.launch.environment import Launched, host, launched, publish
from ds_nowcast.launch.explained import explained
from ds_nowcast.launch.rank_log import RankLog
from ds_nowcast.launch.watchdog import Watchdog
from ds_nowcast.launch.within import within
from ds_nowcast.ranks import leave

_WRITING_S = 5.0  # for a failure to be recorded, on a disk that may be on the host that has gone
_WAITING_S = 90.0  # for the watchdog to end us; it takes a third of that


def parser(prog: str, about: str, example: str) -> argparse.ArgumentParser:
    """A parser with an example in its --help and the options of every command."""
    result = argparse.ArgumentParser(
        prog=prog,
        description=about,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--quiet", action="store_true", help="show no progress")
    result.add_argument("--local_rank", type=int, default=0, help=argparse.SUPPRESS)  # DeepSpeed's launcher passes it
    return result


class Launch:
    """This process's part in a launch; alone without a launcher."""

    def __init__(self, me: Launched | None) -> None:
        """me: as the launcher says; None without one."""
        self.me = me
        self.record: Callable[[Failure, bool], bool | None] = lambda failure, first: None  # see RunFolder.fail
        self.log = RankLog(me) if me else None
        self.store: Store | None = None
        self.watchdog: Watchdog | None = None

    def meet(self) -> None:
        """Meets the other ranks at the launch's store. Raises ExpectedError where that cannot be."""
        if self.me is not None:
            board = Board(self.me)
            self.store = board.group_store
            self.watchdog = Watchdog(self.me, board, self._end)
            self.watchdog.start()

    @property
    def launcher_gone(self) -> bool:
        """Whether what started us has ended."""
        return self.watchdog is not None and self.watchdog.launcher_gone

    @property
    def asked_to_stop(self) -> str | None:
        """The name of the signal that did, if one came since this launch began."""
        return None if self.watchdog is None else self.watchdog.asked_to_stop

    def stops_itself(self, does: bool) -> None:
        """Whether the command ends by itself after SIGTERM, and where the launcher has gone; else the watchdog ends it."""
        if self.watchdog is not None:
            self.watchdog.stops_itself = does

    def patience(self, seconds: float) -> None:
        """Silence of so many seconds is a rank's end."""
        if self.watchdog is not None:
            self.watchdog.patience(seconds)

    def logs_in(self, folder: Path) -> None:
        """Where the ranks' logs shall lie, where all hosts can write."""
        if self.log is not None:
            self.log.move_to(folder)

    def fail(self, error: BaseException) -> NoReturn:
        """This rank cannot go on: ends the launch on all ranks."""
        assert self.me is not None and self.watchdog is not None and self.log is not None
        why = explained(error)
        with suppress(Exception):  # what cannot be written must not keep the launch from its end, nor does it below
            within(_WRITING_S, lambda: self._note(error, why.traced))
        self.watchdog.say(
            why.state, why.reason, why.exit_code, culprit=why.culprit, expected=isinstance(error, ExpectedError)
        )
        self.watchdog.ended(_WAITING_S)
        self._end(Failure(self.me.rank, host(), why.reason, why.exit_code), False)

    def _note(self, error: BaseException, traced: bool) -> None:
        assert self.log is not None
        if traced:
            with suppress(OSError, ValueError):  # nobody may read it any more
                traceback.print_exception(error)
        self.log.note("".join(traceback.format_exception(error)))

    def _end(self, failure: Failure, told: bool) -> NoReturn:
        """Ends this process for a failure of the launch. told: rank 0 knows, and speaks for all."""
        assert self.me is not None and self.log is not None
        with suppress(Exception):
            within(2 * _WRITING_S, lambda: self._last_words(failure, told))
        os._exit(failure.exit_code or PEER_LOST)

    def _last_words(self, failure: Failure, told: bool) -> None:
        assert self.me is not None and self.log is not None
        first = self.me.rank == 0
        if first or not told:
            recorded = None
            with suppress(Exception):
                recorded = within(_WRITING_S, lambda: self.record(failure, first))
            if first or (_speaks(self.me, failure) if recorded is None else recorded):
                _speak(failure, self.log)
        self.log.note(failure.line)
        self.log.note_stacks()
        with suppress(OSError, ValueError):
            sys.stdout.flush()

    def leave(self) -> None:
        """All is done here."""
        self.stops_itself(False)  # from here on what hangs is ended, some time after somebody asked for it
        with suppress(RuntimeError):
            leave()
        if self.log is not None:
            self.log.remove()
        if self.watchdog is not None:
            self.watchdog.leave()
            assert self.log is not None
            self.log.remove()


def _speaks(me: Launched, failure: Failure) -> bool:
    """Whether it falls to this rank to tell what rank 0 does not, and no record shows who told it first."""
    return me.local_rank == 0 or me.rank == failure.rank or (failure.rank == 0 and me.rank == 1)


def _speak(failure: Failure, log: RankLog) -> None:
    if sys.stdout.isatty():
        log.say("\x1b[?25h")  # the live display hides the cursor
    if failure.exit_code == INTERRUPTED:
        log.say("interrupted")
    elif failure.exit_code == 2 and failure.rank == 0:
        if failure.reason:  # argparse has told its own
            log.say(f"error: {failure.reason}")
    else:
        if log.path is not None:
            log.say(f"each rank's log: {log.path.parent}")
        log.say(failure.line)


def ends_as_a_rank(run: Callable[[Launch], int]) -> int:
    """The exit code of `run`, called with this process's part in the launch.

    What ends one rank ends all: rank 0 says why in one line, the run folder's failure.json holds it, and the exit code is
    that of the failure on every rank.
    """
    try:
        me = launched()
        publish(me)
    except ExpectedError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    launch = Launch(me)
    if me is None:
        return ends_politely(lambda: _recording(launch, run))
    try:
        launch.meet()
    except ExpectedError as error:
        assert launch.log is not None
        if me.local_rank == 0:
            launch.log.say(Failure(me.rank, host(), str(error), error.exit_code).line)
        return error.exit_code
    try:
        code = run(launch)
    except SystemExit as left:
        if left.code not in (None, 0):
            launch.fail(left)
        code = 0
    except BaseException as error:
        launch.fail(error)
    launch.leave()
    return code


def _recording(launch: Launch, run: Callable[[Launch], int]) -> int:
    """`run` without a launcher; a failure is recorded on its way."""
    try:
        return run(launch)
    except ExpectedError as error:
        launch.record(Failure(0, host(), str(error), error.exit_code), True)
        raise
    except Exception as error:
        launch.record(Failure(0, host(), explained(error).reason, 1), True)
        raise
    finally:
        with suppress(RuntimeError):
            leave()
