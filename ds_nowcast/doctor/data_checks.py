"""Whether all hosts see the same config, the same shards and one run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ds_nowcast.doctor.findings import Finding, failure, ok, skipped, usual, warning
from ds_nowcast.doctor.job import Job, Seen
from ds_nowcast.doctor.protocol import Digest, Folder, Wrong

LITTLE_GB = 10.0  # free space below which checkpoints may not fit
_IN_MEMORY = ("tmpfs", "ramfs")


def check_hostfile(job: Job, seen: Sequence[Seen]) -> list[Finding]:
    """Other launch forms than pdsh read it on each host, and train alone where it is missing."""
    advice = f"{{what}}; --no_ssh lines read {job.hostfile} there, and train alone without it: copy it"
    findings = _same("hostfile", seen, lambda one: one.hostfile, advice)
    soft = [warning(f.check, one, f.shown, f.advice) if f.advice else f for f, one in zip(findings, seen, strict=True)]
    return soft if job.launcher == "pdsh" else findings


def check_config(job: Job, seen: Sequence[Seen]) -> list[Finding]:
    """The same settings everywhere, which on the first host fit shards, run folder and number of ranks."""
    findings = _same("config", seen, lambda one: one.config, "{what}; give a path that all hosts share, or copy it")
    if isinstance(seen[0].fit, Wrong) and not findings[0].advice:
        findings[0] = failure("config", seen[0], "does not fit", seen[0].fit.reason)
    return findings


def check_shards(job: Job, seen: Sequence[Seen]) -> list[Finding]:
    """Readable, with the same index everywhere."""
    advice = "{what}; give a path that all hosts share, or copy the newer folder to all of them"
    return _same("shards", seen, lambda one: one.shards, advice)


def _same(check: str, seen: Sequence[Seen], of: Callable[[Seen], Digest | Wrong | None], advice: str) -> list[Finding]:
    """advice: with {what} for what is wrong."""
    hashes = [digest.hash for one in seen if isinstance(digest := of(one), Digest)]
    expected = usual(hashes) if hashes else ""
    findings = []
    for one in seen:
        digest = of(one)
        if digest is None:
            findings.append(skipped(check, one))
        elif isinstance(digest, Wrong):
            text = digest.reason if check != "hostfile" else advice.format(what=digest.reason)
            findings.append(failure(check, one, "unusable", text))
        elif digest.hash != expected:
            what = f"its {check} ({digest.hash[:8]}) differs from that of other hosts ({expected[:8]})"
            findings.append(failure(check, one, digest.hash[:8], advice.format(what=what)))
        else:
            findings.append(ok(check, one, digest.about or "same" if len(seen) > 1 else digest.about or "ok"))
    return findings


def check_disk(job: Job, seen: Sequence[Seen]) -> list[Finding]:
    """Room for checkpoints on the run folder's disk."""
    return [_disk(one) for one in seen]


def _disk(one: Seen) -> Finding:
    check, folder = "disk", one.folder
    if not isinstance(folder, Folder):
        return skipped(check, one) if folder is None else failure(check, one, "unusable", folder.reason)
    shown = f"{folder.free_gb:.0f} GB, {folder.kind}"
    if folder.free_gb < LITTLE_GB:
        advice = f"{folder.free_gb:.1f} GB are free at {folder.place}; checkpoints hold some 16 bytes a parameter, two at least are kept"
        return warning(check, one, shown, advice)
    if folder.kind in _IN_MEMORY:
        return warning(
            check, one, shown, f"{folder.place} lies in memory and is gone after a restart; give --run a disk"
        )
    return ok(check, one, shown)


def check_shared(job: Job, seen: Sequence[Seen]) -> list[Finding]:
    """One run folder for all hosts: checkpoints have a part from every rank."""
    findings = []
    for one in seen:
        if one.shared is None:
            findings.append(skipped("run folder", one))
        elif one.shared:
            kind = f" ({one.folder.kind} there)" if isinstance(one.folder, Folder) else ""
            advice = f"{one.shared}{kind}; give --run a folder on a network disk that all hosts mount and may write to"
            findings.append(failure("run folder", one, "not shared", advice))
        else:
            findings.append(ok("run folder", one, "shared"))
    return findings
