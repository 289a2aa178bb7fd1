"""What ranks print: rank 0 on the screen, the others into files that stay where the launch fails."""

from __future__ import annotations

from pathlib import Path

from tests.ds_nowcast.launch.conftest import Started, StartRanks

PRINTED = ("printed by", "from a child of", "printed later by", "from C in", "printed behind it by")


def logs(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.log")}


def printed(launch: Started) -> Started:
    launch.until_all("printed")
    return launch


def test_rank_0_prints_on_the_screen_and_others_into_files_of_their_own(start_ranks: StartRanks) -> None:
    launch = printed(start_ranks("print_a_lot", world=3))
    of_first = [f"{what} 0" for what in PRINTED]
    assert sorted(launch.told) == sorted([*of_first, "said by 0", "said by 1", "said by 2"])
    files = logs(launch.folder)
    assert sorted(name[:18] for name in files) == ["nowcast-rank00001-", "nowcast-rank00002-"]
    for name, text in files.items():
        rank = int(name[12:17])
        lines = text.splitlines()
        assert [lines.count(f"{what} {rank}") for what in (*PRINTED, "noted by")] == [1] * 6
        assert "said by" not in text
        assert "Current thread" in text and "in print_a_lot" in text
        assert lines.index(f"from C in {rank}") < lines.index(f"noted by {rank}")
    launch.go_on()
    assert launch.codes == [0, 0, 0]
    assert not logs(launch.folder), "all went well"


def test_logs_move_with_what_there_is_into_the_run_folder_and_go_with_it_where_all_is_well(
    start_ranks: StartRanks,
) -> None:
    launch = printed(start_ranks("print_a_lot", world=2, LOGS="run/logs"))
    assert not logs(launch.folder)
    files = logs(launch.folder / "run/logs")
    assert files.keys() == {"rank00000.log", "rank00001.log"}
    lines = files["rank00001.log"].splitlines()
    assert [lines.count(f"{what} 1") for what in (*PRINTED, "noted by")] == [1] * 6
    assert files["rank00000.log"].startswith("noted by 0\n"), "the rest is on the screen"
    launch.go_on()
    assert launch.codes == [0, 0]
    assert list((launch.folder / "run").iterdir()) == []


def test_logs_of_a_launch_that_failed_stay_and_are_named(start_ranks: StartRanks) -> None:
    launch = printed(start_ranks("print_a_lot", world=2, LOGS="run/logs", FAILS="yes"))
    launch.go_on()
    assert launch.codes == [3, 3]
    assert launch.told[-2:] == [
        f"each rank's log: {launch.folder / 'run/logs'}", next(line for line in launch.told if "FAILED" in line)
    ]  # fmt: skip
    files = logs(launch.folder / "run/logs")
    assert files.keys() == {"rank00000.log", "rank00001.log"}
    for text in files.values():
        assert "DataError: the last shard is damaged" in text
        assert launch.told[-1] in text.splitlines()


def test_a_log_stays_where_it_was_if_it_cannot_move(start_ranks: StartRanks) -> None:
    launch = printed(start_ranks("print_a_lot", world=2, LOGS="screen/logs"))  # inside a file
    [(name, text)] = logs(launch.folder).items()
    assert name.startswith("nowcast-rank00001-")
    assert "printed later by 1\nfrom C in 1\nnoted by 1\n" in text
    launch.go_on()
    assert launch.codes == [0, 0]


def test_a_launcher_that_gives_each_rank_a_file_is_let_do_so(start_ranks: StartRanks) -> None:
    launch = printed(start_ranks("print_a_lot", world=2, OWN_FILES="yes"))
    assert launch.screen == ""
    assert not logs(launch.folder)
    for rank in range(2):
        text = (launch.folder / f"stdout.{rank}").read_text()
        assert [text.splitlines().count(f"{what} {rank}") for what in (*PRINTED, "said by")] == [1] * 6
    launch.go_on()
    assert launch.codes == [0, 0]
