"""The doctor's other half: runs on a host, answers questions from stdin until that ends, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from queue import SimpleQueue
from typing import Any, TextIO

from data_prep.errors import ExpectedError
from ds_nowcast.doctor import ports, sights, tokens
from ds_nowcast.doctor.protocol import MARK
from ds_nowcast.launch.within import within

QUESTIONS: dict[str, Callable[..., Any]] = {
    "hello": sights.hello,
    "clock": sights.clock,
    "devices": sights.devices,
    "file": sights.file,
    "config": sights.config,
    "shards": sights.shards,
    "fit": sights.fit,
    "folder": sights.folder,
    "way": ports.way,
    "listen": ports.listen,
    "reach": ports.reach,
    "leave": tokens.leave,
    "see": tokens.see,
    "remove": tokens.remove,
}
_REMOVING_S = 5.0


def main() -> None:
    """Answers until stdin ends, which means that the doctor has gone; then ends at once, whatever may hang here."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print; stdout is for answers alone
    asked: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=serve, args=(iter(asked.get, None), answers), daemon=True).start()
    for line in sys.stdin:
        asked.put(line)
    answered(_REMOVING_S, "", tokens.remove, ends=True)
    os._exit(0)


def serve(questions: Iterable[str], answers: TextIO) -> None:
    """One answer per line of `questions`."""
    for line in questions:
        asked = json.loads(line)
        answer = answered(asked["limit_s"], asked["ask"], QUESTIONS[asked["ask"]], **asked["given"])
        answers.write(f"\n{MARK}{json.dumps(answer)}\n")
        answers.flush()


def answered(limit_s: float, what: str, work: Callable[..., Any], **given: Any) -> dict[str, Any]:
    """The answer of `work`, or that it hangs: a network disk that is gone lets nobody go."""
    try:
        return within(limit_s, lambda: _said(what, work, given))
    except TimeoutError:
        return {
            "wrong": f"no answer about {what} within {limit_s:.0f} s; a disk or a server that hangs? mend or unmount it"
        }


def _said(what: str, work: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"said": asdict(work(**given))}
    except ExpectedError as error:
        return {"wrong": str(error)}
    except OSError as error:
        return {"wrong": f"{error.filename or what}: {error.strerror or error}"}
    except Exception as error:
        return {"wrong": f"{what}: {type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
