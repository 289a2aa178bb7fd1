"""Whether ranks would find each other."""

from __future__ import annotations

from collections.abc import Sequence

from ds_nowcast.doctor.findings import Finding, failure, ok, skipped, warning
from ds_nowcast.doctor.job import Examined, Job, Seen
from ds_nowcast.doctor.protocol import Devices, Hello, Way, Wrong


def check_way(job: Job, examined: Examined) -> list[Finding]:
    """The interface that reaches the master."""
    return [_way(job, one, examined.master) for one in examined.seen]


def _way(job: Job, one: Seen, master: str) -> Finding:
    check = "interface"
    if one.way is None or not isinstance(one.hello, Hello):
        return skipped(check, one)
    if isinstance(one.way, Wrong):
        return failure(check, one, "none", f"{one.way.reason}; give --master_addr an address that all hosts reach")
    if one.way.loopback and len(job.hosts) > 1 and not job.local:
        advice = (
            f"the master address {master} means its loopback there, where other hosts cannot reach it; give --master_addr its address in "
            f"the network ({', '.join(one.hello.addresses) or 'it has none'}), or mend its /etc/hosts"
        )
        return failure(check, one, one.way.name, advice)
    if not one.way.name:
        advice = (
            "the address it shows to the master belongs to no interface that can be seen; set GLOO_SOCKET_IFNAME there"
        )
        return warning(check, one, "unknown", advice)
    return _settings(one, one.hello, one.way) or ok(check, one, one.way.name)


def _settings(one: Seen, hello: Hello, way: Way) -> Finding | None:
    """What is wrong with GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME as they would be there."""
    settings = one.devices.settings if isinstance(one.devices, Devices) else {}
    for setting, value in settings.items():
        if not _names_some(setting, value, hello.interfaces):
            advice = f"{setting}={value} names none of its interfaces ({', '.join(hello.interfaces)}); set {way.name}, or nothing"
            return failure("interface", one, way.name, advice)
        if not way.loopback and not _names_some(setting, value, [way.name]):
            advice = (
                f"{setting}={value} there, but {way.name} reaches the master; unless you know better, set {way.name}"
            )
            return warning("interface", one, way.name, advice)
    return None


def _names_some(setting: str, value: str, interfaces: Sequence[str]) -> bool:
    """Gloo wants exact names; NCCL takes beginnings, exact names after =, and exclusions after ^."""
    if setting.startswith("GLOO"):
        return any(name in interfaces for name in value.split(","))
    exact, without = "=" in value[:2], value.startswith("^")
    words = value.lstrip("^=").split(",")
    named = {name for name in interfaces for word in words if (name == word if exact else name.startswith(word))}
    return bool(set(interfaces) - named) if without else bool(named)


def check_port(job: Job, examined: Examined) -> list[Finding]:
    """The master's port: free there, and reached from everywhere."""
    first, *others = examined.seen
    return [_port(job, first, examined.master), *(_reaches(job, one, first, examined.master) for one in others)]


def _port(job: Job, first: Seen, master: str) -> Finding:
    check = "master port"
    if first.port is None:
        return skipped(check, first)
    if isinstance(first.port, Wrong):
        return failure(check, first, "taken", f"{first.port.reason}; wait for its end, or give --master_port another")
    if first.reaches:
        advice = f"it does not reach itself at {master} port {job.master_port} ({first.reaches}); give --master_addr its own address"
        return failure(check, first, "not reached", advice)
    return ok(check, first, f"{job.master_port} free")


def _reaches(job: Job, one: Seen, first: Seen, master: str) -> Finding:
    check = "master port"
    if one.reaches is None:
        return skipped(check, one)
    if one.reaches:
        advice = (
            f"it does not reach {first.host.name} at {master} port {job.master_port} ({one.reaches}); open that port in firewalls, or give "
            "--master_addr an address in a network that both have"
        )
        return failure(check, one, "not reached", advice)
    return ok(check, one, "reached")


def check_back(job: Job, examined: Examined) -> list[Finding]:
    """Whether the master reaches the others: gloo and NCCL connect both ways, at ports that the system gives out."""
    first, *others = examined.seen
    findings = [skipped("from master", first)]
    for one in others:
        if one.reached is None:
            findings.append(skipped("from master", one))
        elif one.reached:
            advice = (
                f"{first.host.name} does not reach it at {one.way.address if isinstance(one.way, Way) else '?'} ({one.reached}); gloo and "
                "NCCL connect between all hosts at any port: open firewalls between them"
            )
            findings.append(failure("from master", one, "not reached", advice))
        else:
            findings.append(ok("from master", one, "reached"))
    return findings
