"""`.deepspeed_env`, against what DeepSpeed's launcher does with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import UserError
from ds_nowcast.doctor.env_file import env_paths, is_secret, parse_env, read_env_file, read_env_files, write_env_file


def test_lines_that_end_the_launcher_are_told(tmp_path: Path) -> None:
    path = tmp_path / ".deepspeed_env"
    path.write_text("A=1\n\n# note\n  # B=2\nexport C=3\nnonsense\nD=\"a b\"\nE='x'\nF=it's = fine\n")
    found = read_env_file(path)
    assert found.values == {"A": "1", "F": "it's = fine"}
    told = found.problems
    assert told[0].startswith("line 2, 3, 4 is blank or a comment")
    assert [problem.split(" ")[1] for problem in told[1:]] == ["5", "6", "7", "8"]


@given(st.lists(st.sampled_from(["A=1", "B=a b", "", "# x", "#C=1", "C", "D=x=y", " E = 2 "])))
def test_what_is_found_well_is_what_the_launcher_exports(lines: list[str]) -> None:
    found = parse_env("".join(f"{line}\n" for line in lines), Path("file"))
    exported = {}
    try:
        for line in lines:  # as DeepSpeed 0.19.8 does: launcher/runner.py main, multinode_runner.py add_export
            name, value = line.split("=", maxsplit=1)
            exported[name.strip()] = value.strip()
    except ValueError:
        assert found.problems
    else:
        assert found.problems or found.values == exported
        assert bool(found.problems) is any(name.startswith("#") for name in exported)


def test_writing_keeps_the_users_lines_and_adds_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / ".deepspeed_env"
    path.write_text("NCCL_DEBUG=INFO\n\n# fast\nGLOO_SOCKET_IFNAME=ib0")
    told = write_env_file(path, {"GLOO_SOCKET_IFNAME": "eth0", "DS_ACCELERATOR": "cpu"})
    assert path.read_text() == "NCCL_DEBUG=INFO\nGLOO_SOCKET_IFNAME=ib0\nDS_ACCELERATOR=cpu\n"
    assert "added DS_ACCELERATOR=cpu" in told and "left out 2 blank or comment lines" in told
    assert "needs nothing more" in write_env_file(path, {"DS_ACCELERATOR": "cpu"})
    assert [entry.name for entry in tmp_path.iterdir()] == [".deepspeed_env"]


def test_writing_refuses_lines_it_does_not_understand(tmp_path: Path) -> None:
    path = tmp_path / ".deepspeed_env"
    path.write_text("export A=1\n")
    with pytest.raises(UserError, match="line 1 is 'export A=1' and not NAME=VALUE; mend that first"):
        write_env_file(path, {"B": "2"})
    assert path.read_text() == "export A=1\n"


def test_nothing_is_written_where_nothing_is_needed(tmp_path: Path) -> None:
    assert "needs nothing more" in write_env_file(tmp_path / ".deepspeed_env", {})
    assert not list(tmp_path.iterdir())


def test_the_working_folders_file_counts_over_the_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home/.deepspeed_env").write_text("A=home\n")
    (tmp_path / ".deepspeed_env").write_text("A=here\n")
    assert [file.values for file in read_env_files(env_paths())] == [{"A": "home"}, {"A": "here"}]
    monkeypatch.chdir(tmp_path / "home")
    assert len(read_env_files(env_paths())) == 1


def test_names_of_secrets() -> None:
    assert is_secret("AWS_SECRET_ACCESS_KEY") and is_secret("HF_TOKEN") and is_secret("password")
    assert not is_secret("NCCL_SOCKET_IFNAME") and not is_secret("DS_ACCELERATOR")
