"""An `ssh` that stays on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

# what a host does follows from its name; a probe is a real one
SSH = r"""#!/bin/bash
if [ "$1" = -G ]; then echo "serveraliveinterval 0"; exit; fi
while [ "$1" != -- ]; do shift; done
host=$2 command=$3
case $host in
  denied*) echo "me@denied: Permission denied (publickey,password)." >&2; exit 255 ;;
  stranger) echo "Host key verification failed." >&2; exit 255 ;;
  menu) echo "Welcome to the menu"; exit 0 ;;
  silent) echo "Password:"; sleep 1000 ;;
  elsewhere) command=${command/cd /cd /nowhere} ;;
  bare) command=${command/PYTHONPATH=/WAS=} command=${command/exec env/exec env -u PYTHONPATH} command=${command/-u -m/-S -m} ;;
  snake) command=${command/bin\/python/bin\/no-python} ;;
  chatty) printf '@nowcast-doctor rubbish\nLast login: today' ;;
  older) command=${command/PYTHONPATH=/PYTHONPATH=$OLDER:} ;;
esac
exec sh -c "$command"
"""


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts it first on PATH; on host `older` torch says that it is 2.0.0. Returns a folder to work in."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "ssh").write_text(SSH)
    (binaries / "ssh").chmod(0o755)
    (binaries / "pdsh").write_text("#!/bin/sh\n")
    (binaries / "pdsh").chmod(0o755)
    (tmp_path / "older/torch-2.0.0.dist-info").mkdir(parents=True)
    (tmp_path / "older/torch-2.0.0.dist-info/METADATA").write_text("Name: torch\nVersion: 2.0.0\n")
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("PATH", str(binaries), prepend=":")
    monkeypatch.setenv("OLDER", str(tmp_path / "older"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.delenv("PDSH_SSH_ARGS_APPEND", raising=False)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"
