from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.__main__ import COMMANDS
from data_prep.console import ends_politely, main, positive, progress, share, whole
from data_prep.errors import DataError, UserError


def failing(error: BaseException) -> int:
    raise error


def test_no_secret_of_a_url_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_politely(lambda: failing(UserError("https://me:secret@host/a?key=secret is gone"))) == 2
    assert capsys.readouterr().err == "error: https://host/a is gone\n"


@pytest.mark.parametrize(("error", "code"), [(UserError("no such file"), 2), (DataError("no such file"), 3)])
def test_a_foreseen_end_is_one_sentence_and_its_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends_politely(lambda: failing(error)) == code
    assert capsys.readouterr() == ("", "error: no such file\n")


def test_ctrl_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_politely(lambda: failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_sigterm_ends_with_143_once_what_was_begun_is_in_order(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    def run(args: object) -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # a second one does not disturb that
            ended.append(True)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("data_prep.verify.run", run)
    assert main("data_prep", "", COMMANDS, ["verify", "shards"]) == 143
    assert ended and capsys.readouterr().err == "terminated\n" and signal.getsignal(signal.SIGTERM) == before


def test_a_name_that_is_no_text_can_be_printed() -> None:
    program = "import sys; from data_prep.__main__ import COMMANDS; from data_prep.console import main; import data_prep.verify\n"
    program += "from rich.console import Console\n"
    program += "data_prep.verify.run = lambda args: Console().print('wrote \\udcff') or 0\n"
    program += "sys.exit(main('', '', COMMANDS, ['verify', 'shards']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "wrote \\udcff\n")


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        ends_politely(lambda: 1 // 0)


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    program = "import sys; from data_prep.console import ends_politely\n"
    program += "sys.exit(ends_politely(lambda: [print('x' * 99) for _ in range(9999)] and 0))"
    shell = f'{sys.executable} -c "{program}" | head -1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_shows_an_example_in_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main("data_prep", "", COMMANDS, [command, "--help"])
    assert end.value.code == 0
    assert f"example:\n  python -m data_prep {command} " in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["nonsense"], ["build"], ["verify", "--nonsense"]])
def test_words_that_make_no_command_end_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main("data_prep", "", COMMANDS, words)
    assert end.value.code == 2


def test_progress_off_a_terminal_is_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("shards", 3) as advance:
        advance(1)
        advance(2)
    assert capsys.readouterr() == ("", "shards: 3/3\n")


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("shards", 3, quiet=True) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_numbers_of_options_are_checked() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="'x' is not a whole number of 0 or more"):
        whole("x")
    assert (positive("12"), whole("0"), share("0.5"), share("1")) == (12, 0, 0.5, 1.0)
    for kind, text in ((positive, "0"), (positive, "1.5"), (whole, "-1"), (share, "1.1"), (share, "nan"), (share, "x")):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a"):
            kind(text)


def test_help_needs_neither_torch_nor_matplotlib(tmp_path: Path) -> None:
    program = "import sys; from data_prep.__main__ import run_command_line\n"
    program += "sys.argv = ['x', 'build', '--help']\ntry: run_command_line()\nexcept SystemExit: pass\n"
    program += "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules or 'webdataset' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60).returncode == 0
