"""A probe by itself."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import UserError
from ds_nowcast.doctor import ports, sights, tokens
from ds_nowcast.doctor.probe import answered, serve
from ds_nowcast.doctor.protocol import MARK, Clock, Folder, Hello, Listening, Outcomes, Wrong, said
from tests.launching import ROOT, free_port


def asked(ask: str, limit_s: float = 20, **given: Any) -> Any:
    answers = io.StringIO()
    serve([json.dumps({"ask": ask, "limit_s": limit_s, "given": given})], answers)
    return json.loads(answers.getvalue().partition(MARK)[2])


def test_answers_are_marked_json_lines() -> None:
    assert isinstance(said(Hello, asked("hello", first="localhost", environment={})), Hello)
    clock = said(Clock, asked("clock"))
    assert isinstance(clock, Clock) and abs(clock.now - time.time()) < 60


def test_what_a_user_did_wrong_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wrong = said(Folder, asked("folder", path=str(tmp_path / "file")))
    assert isinstance(wrong, Wrong) and "is a file; give --run a folder" in wrong.reason
    wrong = said(Folder, asked("file", path=str(tmp_path / "none")))
    assert isinstance(wrong, Wrong) and "none: No such file" in wrong.reason


def test_what_hangs_is_an_answer_too() -> None:
    answer = answered(0.1, "disks", lambda: threading.Event().wait(20))
    assert "no answer about disks within 0 s" in answer["wrong"]


def test_an_answer_of_another_version_is_told() -> None:
    for answer in ({"said": {"later": 1}}, {"said": None}, {}, [], {"said": {"now": "soon"}}):
        wrong = said(Clock, answer)
        assert isinstance(wrong, Wrong) and "another version" in wrong.reason


def test_a_probe_ends_with_its_stdin_and_removes_what_it_left(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ds_nowcast.doctor.probe"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as probe:
        assert probe.stdin is not None and probe.stdout is not None
        for ask, given in (
            ("leave", {"place": str(tmp_path), "name": "token"}),
            ("see", {"place": str(tmp_path), "names": ["no"]}),
        ):
            probe.stdin.write(json.dumps({"ask": ask, "limit_s": 20, "given": given}) + "\n")
            probe.stdin.flush()
        while MARK not in probe.stdout.readline():
            pass
        assert (tmp_path / "token").exists()  # and now it looks for a file that does not come, for 10 s
        began = time.monotonic()
    assert probe.returncode == 0
    assert time.monotonic() - began < 8
    assert not list(tmp_path.iterdir())


def test_files_are_left_seen_and_removed(tmp_path: Path) -> None:
    place = str(tmp_path)
    assert tokens.leave(place, "a") == Outcomes([""])
    assert tokens.see(place, ["a"]) == Outcomes([""])
    with pytest.raises(UserError, match="nothing can be written"):
        tokens.leave(place, "a")
    tokens.remove()
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="there is no folder"):
        tokens.leave(str(tmp_path / "none"), "a")


def test_a_port_is_reached_by_who_knows_the_word() -> None:
    port = ports.listen(0, "word").port
    target = {"address": "127.0.0.1", "port": port}
    answers = ports.reach(
        [{**target, "word": "word"}, {**target, "word": "other"}, {**target, "port": free_port(), "word": ""}]
    )
    assert answers.reasons[:2] == ["", "something else answers"]
    assert "refused" in answers.reasons[2]


def test_a_port_is_free_again_at_once() -> None:
    """In a probe that ended after others had connected."""
    port = free_port()
    listening = json.dumps({"ask": "listen", "limit_s": 5, "given": {"port": port, "word": "word"}})
    command = [sys.executable, "-m", "ds_nowcast.doctor.probe"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as probe:
        assert probe.stdin is not None and probe.stdout is not None
        probe.stdin.write(f"{listening}\n")
        probe.stdin.flush()
        while MARK not in probe.stdout.readline():
            pass
        assert ports.reach([{"address": "127.0.0.1", "port": port, "word": "word"}]).reasons == [""]
    with socket.socket() as plain:  # without SO_REUSEADDR, as a launcher may do
        plain.bind(("", port))


def test_a_port_that_is_taken_is_told_with_by_whom() -> None:
    with socket.create_server(("", 0)) as server, pytest.raises(UserError) as caught:
        ports.listen(server.getsockname()[1], "word")
    assert f"is in use by process {os.getpid()} of " in str(caught.value)


def test_ways_and_addresses() -> None:
    assert ports.way("127.0.0.1").loopback
    with pytest.raises(UserError, match=r"there is no way to the master address nowhere\.invalid"):
        ports.way("nowhere.invalid")
    assert ports.meanings("localhost")
    assert ports.meanings("nowhere.invalid") == []
    assert "127.0.0.1" not in ports.addresses()


def test_a_run_folder_lies_in_the_nearest_folder_there_is(tmp_path: Path) -> None:
    folder = sights.folder(str(tmp_path / "runs/a"))
    assert folder.place == str(tmp_path)
    assert folder.kind not in ("", "unknown") and folder.free_gb > 0
    assert sights.folder("/proc/none").kind == "proc"


def test_the_codes_hash_is_that_of_these_sources() -> None:
    assert sights.code_hash() == sights.code_hash()
    assert len(sights.code_hash()) == 64


@pytest.mark.slow
def test_shards_and_config_are_opened(shards: Path, config: Path) -> None:
    opened = sights.shards(str(shards), None, [])
    assert opened == sights.shards(str(shards), str(config), [])
    assert opened.about == "10 shards" and len(opened.hash) == 64
    assert sights.config(str(config), []).hash != sights.config(str(config), ["nowcast.steps=3"]).hash
    assert "samples a step" in sights.fit(str(shards), str(config), [], None, 2).about
    with pytest.raises(UserError, match="3"):
        sights.fit(str(shards), str(config), [], None, 3)
    with pytest.raises(UserError, match=r"has no index\.json"):
        sights.shards(str(shards / "train"), None, [])


def test_listening_is_an_answer() -> None:
    assert isinstance(said(Listening, asked("listen", port=0, word="w")), Listening)
