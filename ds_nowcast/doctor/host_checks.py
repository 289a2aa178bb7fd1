"""Each host by itself, and against the others: is it there, with the same software, with enough to compute on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ds_nowcast.doctor.findings import Finding, failure, ok, skipped, usual, warning
from ds_nowcast.doctor.job import Job, Seen
from ds_nowcast.doctor.protocol import Devices, Hello

SKEW_S = 1.0  # past it, times in logs and of files mislead


def check_answers(job: Job, seen: Sequence[Seen]) -> list[Finding]:
    """ssh without a password, the folder, python and this package there."""
    name = "probe" if job.local else "ssh"
    return [
        ok(name, one, "ok") if isinstance(one.hello, Hello) else failure(name, one, "no answer", one.hello.reason)
        for one in seen
    ]


def check_machines(job: Job, seen: Sequence[Seen]) -> list[Finding]:
    """Whether two names mean one machine."""
    first_with: dict[str, str] = {}
    findings = []
    for one in seen:
        if not isinstance(one.hello, Hello):
            findings.append(skipped("machine", one))
            continue
        other = first_with.setdefault(one.hello.machine, one.host.name)
        if other == one.host.name:
            findings.append(ok("machine", one, one.hello.hostname))
        else:
            advice = f"{other} and {one.host.name} are one machine; give it one line of the hostfile with all its slots"
            findings.append(warning("machine", one, f"= {other}", advice))
    return findings


def check_software(job: Job, seen: Sequence[Seen]) -> list[Finding]:
    """Python, torch, DeepSpeed and this package: equal everywhere."""
    pip = f"`{job.python} -m pip install"
    return [
        *_equal("python", seen, lambda hello: hello.python, lambda usual: f"make its environment with python {usual}"),
        *_equal("torch", seen, lambda hello: hello.torch, lambda usual: f"{pip} torch=={usual.split('+')[0]}` there"),
        *_equal("deepspeed", seen, lambda hello: hello.deepspeed, lambda usual: f"{pip} deepspeed=={usual}` there"),
        *_equal(
            "ds-nowcast", seen, lambda hello: hello.package,
            lambda _: f"bring {job.folder} to the same commit on all hosts, or install the same wheel",
        ),
    ]  # fmt: skip


def _equal(check: str, seen: Sequence[Seen], of: Callable[[Hello], str], cure: Callable[[str], str]) -> list[Finding]:
    """of: the version in an answer; cure: what makes it that of the others."""
    answers = [of(one.hello) for one in seen if isinstance(one.hello, Hello)]
    expected = usual(version for version in answers if version) if any(answers) else ""
    findings = []
    for one in seen:
        if not isinstance(one.hello, Hello):
            findings.append(skipped(check, one))
        elif not of(one.hello):
            findings.append(failure(check, one, "missing", f"{check} is not installed there; {cure(expected)}"))
        elif of(one.hello) != expected:
            advice = f"{check} is {of(one.hello)}, elsewhere {expected}; {cure(expected)}"
            findings.append(failure(check, one, of(one.hello), advice))
        else:
            findings.append(ok(check, one, expected))
    return findings


def check_devices(job: Job, seen: Sequence[Seen]) -> list[Finding]:
    """GPUs against slots; all hosts with GPUs, or none."""
    answers = [one.devices for one in seen if isinstance(one.devices, Devices)]
    with_gpus = any(devices.gpus and devices.forced != "cpu" for devices in answers)
    kinds = [devices.gpus[0] for devices in answers if devices.gpus]
    return [_devices(one, with_gpus, usual(kinds) if kinds else "") for one in seen]


def _devices(one: Seen, with_gpus: bool, kind: str) -> Finding:
    check, devices, slots = "devices", one.devices, one.host.slots
    if not isinstance(devices, Devices):
        return skipped(check, one) if devices is None else failure(check, one, "unknown", devices.reason)
    gpus = len(devices.gpus)
    if devices.forced == "cpu" or not gpus:
        return _cpu(one, devices, with_gpus)
    shown = f"{slots} of {gpus} GPUs"
    if slots > gpus:
        advice = f"{slots} slots, and torch sees {gpus} GPUs; write slots={gpus}, or free CUDA_VISIBLE_DEVICES there"
        return failure(check, one, shown, advice)
    if set(devices.gpus) != {kind}:
        other = next(name for name in devices.gpus if name != kind)
        return warning(check, one, shown, f"it has {other}, others {kind}; the slowest GPU sets the pace of all")
    return ok(check, one, shown)


def _cpu(one: Seen, devices: Devices, with_gpus: bool) -> Finding:
    check, slots = "devices", one.host.slots
    if devices.forced != "cpu" and devices.gpu_files:
        advice = (
            f"it has {devices.gpu_files} GPUs that torch cannot use; does its driver fit torch's CUDA (`nvidia-smi`), is torch built for "
            "CPUs? to train on its CPU, set DS_ACCELERATOR=cpu"
        )
        return failure(check, one, "no GPU", advice)
    if with_gpus:
        why = "DS_ACCELERATOR=cpu is set there" if devices.forced == "cpu" else "torch sees no GPU there"
        return failure(check, one, "CPU", f"{why} while other hosts compute on GPUs; all must have the same")
    shown = f"CPU, cores: {devices.cores}"
    if slots > devices.cores:
        return warning(
            check, one, shown, f"{slots} ranks share {devices.cores} cores; write slots={devices.cores} or fewer"
        )
    return ok(check, one, shown)


def check_clocks(job: Job, seen: Sequence[Seen]) -> list[Finding]:
    """Against the launching machine's clock."""
    findings = []
    for one in seen:
        if one.skew is None:
            findings.append(skipped("clock", one))
        elif abs(one.skew.seconds) - one.skew.uncertainty > SKEW_S:
            advice = (
                f"its clock is {abs(one.skew.seconds):.0f} s {'ahead' if one.skew.seconds > 0 else 'behind'}: times in logs mislead, "
                "object stores refuse past 15 minutes; run an NTP client there (`timedatectl set-ntp true`)"
            )
            findings.append(warning("clock", one, f"{one.skew.seconds:+.1f} s", advice))
        else:
            findings.append(ok("clock", one, f"{round(one.skew.seconds, 1) + 0.0:+.1f} s"))  # -0.0 + 0.0 is 0.0
    return findings
