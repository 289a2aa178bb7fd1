"""What the user reads: a table, what to do, and the commands."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ds_nowcast.doctor.commands import Form
from ds_nowcast.doctor.findings import Finding, Level
from ds_nowcast.doctor.trouble import HOST

_STYLES = {Level.SKIPPED: "dim", Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "bold red"}
_WORDS = {Level.SKIPPED: "", Level.OK: "", Level.WARNING: "warn ", Level.FAILURE: "FAIL "}
_COLUMN = 17  # what a host's column needs to be read
_MOST_COLUMNS = 6
_NAMED = 4  # hosts that are named for the same advice


def table_of(findings: Sequence[Finding], hosts: Sequence[str], width: int, *, every: bool = False) -> Table:
    """A row a check; a column a host where they fit (every: in any case), else how many hosts are well."""
    checks = list(dict.fromkeys(finding.check for finding in findings if finding.host))
    if every or len(hosts) <= min(_MOST_COLUMNS, (width - _COLUMN) // _COLUMN):
        table = Table("check", *hosts)
        cells = {(finding.check, finding.host): finding for finding in findings}
        for check in checks:
            table.add_row(check, *(_cell(cells[check, host]) for host in hosts))
        return table
    table = Table("check", "ok", "found", "others")
    for check in checks:
        found = [finding for finding in findings if finding.check == check and finding.host]
        well = [finding.shown for finding in found if finding.level == Level.OK]
        others = Counter(f"{_WORDS[f.level]}{f.shown}" for f in found if f.level not in (Level.OK, Level.SKIPPED))
        usual = Counter(well).most_common(1)[0][0] if well else "-"
        more = ", ".join(f"{number} {text}" for text, number in others.most_common())
        state = max(finding.level for finding in found)
        table.add_row(check, f"{len(well)} of {len(hosts)}", Text(usual), Text(more, _STYLES[state]))
    return table


def _cell(finding: Finding) -> Text:
    return Text(f"{_WORDS[finding.level]}{_plain(finding.shown)}", _STYLES[finding.level])


def _plain(text: str) -> str:
    """Without what would steer a terminal: some of it was said by other machines."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def advice(findings: Sequence[Finding]) -> list[tuple[Level, str]]:
    """One line for each thing to do, failures first; hosts of the same trouble share one."""
    hosts: dict[tuple[Level, str, str], list[str]] = {}
    for finding in findings:
        if finding.advice:
            hosts.setdefault((finding.level, finding.check, finding.advice), []).append(finding.host)
    lines = []
    for (level, check, text), names in sorted(hosts.items(), key=lambda item: -item[0][0]):
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        on = f" on {', '.join(names[:_NAMED])}{more}" if names[0] else ""
        text = text.replace(HOST, names[0] if len(names) == 1 else "HOST")
        lines.append((level, _plain(f"{_WORDS[level]}{check}{on}: {text}")))
    return lines


def summary(findings: Sequence[Finding], hosts: Sequence[str]) -> str:
    """In one line."""
    failed = {finding.host for finding in findings if finding.level == Level.FAILURE and finding.host}
    well = f"{len(hosts) - len(failed)} of {len(hosts)} hosts ok"
    failures = sum(finding.level == Level.FAILURE for finding in findings)
    warnings = sum(finding.level == Level.WARNING for finding in findings)
    return f"{well}, {failures} failed and {warnings} warned of {len(findings)} checks"


def show(
    console: Console, findings: Sequence[Finding], hosts: Sequence[str], *, quiet: bool = False, every: bool = False
) -> None:
    """Table and advice. quiet: what is wrong alone."""
    if not quiet:
        for finding in (finding for finding in findings if not finding.host):
            console.print(Text(f"{finding.check}: "), _cell(finding), sep="")
        console.print(table_of(findings, hosts, console.width, every=every))
    for level, line in advice(findings):
        wrapped = textwrap.fill(
            line, console.width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
        )
        console.print(Text(wrapped, _STYLES[level]), soft_wrap=True)
    if not quiet:
        console.print(Text(summary(findings, hosts), "bold"))


def show_commands(console: Console, forms: Sequence[Form], *, every: bool = False) -> None:
    """Commands unbroken, for copying; of many hosts the first and the last. every: of all."""
    for form in forms:
        console.print(Text(f"\n# {form.name}{f': {form.note}' if form.note else ''}", "bold"), soft_wrap=True)
        few = every or len(form.lines) <= _MOST_COLUMNS
        for host, line in form.lines if few else [form.lines[0], form.lines[-1]]:
            if host:
                console.print(Text(f"# on {host}", "dim"), soft_wrap=True)
            console.print(Text(line), soft_wrap=True)
        if not few:
            console.print(Text(f"# and {len(form.lines) - 2} more between these: --all shows them", "dim"))
