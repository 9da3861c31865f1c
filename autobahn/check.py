"""Judge the reports that the Autobahn test suite has written."""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

# The last case of each group of autobahntestsuite 0.8.2; the groups have 517 cases in
# all. Naming them here makes a case that was never run a failure.
LAST_CASES = """
    1.1.8 1.2.8 2.11 3.7 4.1.5 4.2.5 5.20
    6.1.3 6.2.4 6.3.2 6.4.4 6.5.5 6.6.11 6.7.4 6.8.2 6.9.4 6.10.3 6.11.5 6.12.8
    6.13.5 6.14.10 6.15.1 6.16.3 6.17.5 6.18.5 6.19.5 6.20.7 6.21.8 6.22.34 6.23.7
    7.1.6 7.3.6 7.5.1 7.7.13 7.9.9 7.13.2
    9.1.6 9.2.6 9.3.9 9.4.9 9.5.6 9.6.6 9.7.6 9.8.6 10.1.1
    12.1.18 12.2.18 12.3.18 12.4.18 12.5.18
    13.1.18 13.2.18 13.3.18 13.4.18 13.5.18 13.6.18 13.7.18
"""
SECTIONS = (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13)
DEFAULT_PATTERNS = tuple(f"{section}.*" for section in SECTIONS)

# INFORMATIONAL is the suite's word for cases where the RFC leaves the choice to us.
PASSING = frozenset({"OK", "INFORMATIONAL"})
# What an exemption may excuse. FAILED and the like have no excuse.
EXCUSABLE = frozenset({"NON-STRICT", "UNCLEAN"})
# The columns of the table.
HEADINGS: tuple[str, ...] = (
    "OK",
    "INFORMATIONAL",
    "excused",
    "failed",
    "missing",
    "unexpected",
)

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | None"


class ReportError(Exception):
    """A report is missing or is not what the test suite writes.

    Attributes:
        path: The file that was to be read.
        problem: What is wrong with it.

    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} is not a report: {self.problem}"


@dataclass(frozen=True, slots=True)
class Exemption:
    """One case that one role is allowed to pass less than perfectly.

    Attributes:
        role: ``client`` or ``server``: what the library was.
        case: The number of the case, such as ``7.1.6``.
        outcome: The result to excuse, ``NON-STRICT`` or ``UNCLEAN``.
        reason: Why this is right, as a sentence.

    """

    role: str
    case: str
    outcome: str
    reason: str

    def __post_init__(self) -> None:
        if self.outcome not in EXCUSABLE:
            raise ValueError(f"{self.outcome!r} has no excuse")
        if not self.reason:
            raise ValueError("an exemption needs a reason")


# At most three, ever.
EXEMPTIONS: tuple[Exemption, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What the test suite says about one case.

    Attributes:
        case: The number of the case.
        behavior: The judgement on the messages: ``OK``, ``NON-STRICT``, ``FAILED`` ...
        close_behavior: The judgement on how the connection ended.
        report: The file with the details.

    """

    case: str
    behavior: str
    close_behavior: str
    report: Path

    @property
    def outcomes(self) -> frozenset[str]:
        """Both judgements."""
        return frozenset({self.behavior, self.close_behavior})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The results of one role, counted.

    Attributes:
        role: ``client`` or ``server``.
        counts: How many cases there are under each heading of the table.
        problems: A sentence for each case that fails the run.

    """

    role: str
    counts: Mapping[str, int]
    problems: tuple[str, ...]


def find_cases(patterns: Iterable[str]) -> list[str]:
    """Find the numbers of all cases that match one of the patterns, in order.

    Args:
        patterns: Numbers of cases, or patterns such as ``6.*``.

    Raises:
        ValueError: If no case matches one of the patterns.

    """
    known = [case for last in LAST_CASES.split() for case in _count_up(last)]
    found: set[str] = set()
    for pattern in patterns:
        matches = fnmatch.filter(known, pattern)
        if not matches:
            raise ValueError(f"no case matches {pattern!r}")
        found.update(matches)
    return [case for case in known if case in found]


def read_results(folder: Path) -> dict[str, CaseResult]:
    """Read the index of a report: a result for each case that was run.

    Raises:
        ReportError: If there is no index, or it is not the index of one agent.

    """
    path = folder / "index.json"
    index = _read_object(path)
    if len(index) != 1:
        raise ReportError(path, f"it is about {len(index)} agents, not about one")
    (cases,) = index.values()
    if not isinstance(cases, dict):
        raise ReportError(path, "the agent has no cases")
    return {case: _parse_result(path, case, entry) for case, entry in cases.items()}


def judge_role(
    role: str,
    folder: Path,
    expected: Sequence[str],
    *,
    exemptions: Iterable[Exemption] = EXEMPTIONS,
) -> Verdict:
    """Compare the report of one role with what it must be.

    Args:
        role: ``client`` or ``server``.
        folder: Where the report is.
        expected: The numbers of all cases that must have been run.
        exemptions: What is excused.

    Raises:
        ReportError: If the report cannot be read.

    """
    results = read_results(folder)
    excused = {(each.role, each.case): each.outcome for each in exemptions}
    counts = dict.fromkeys(HEADINGS, 0)
    problems: list[str] = []
    for case in [*expected, *sorted(results.keys() - set(expected))]:
        heading = _classify(results.get(case), excused.get((role, case)))
        if case not in expected:
            heading = "unexpected"
        counts[heading] += 1
        if heading == "failed":
            problems.append(f"{role} {case}: {_describe(results[case])}")
        elif heading in {"missing", "unexpected"}:
            problems.append(f"{role} {case}: the case is {heading}")
    return Verdict(role, counts, tuple(problems))


def build_table(verdicts: Iterable[Verdict]) -> str:
    """Build a table with a line for each role and a column for each kind of result."""
    lines = ["role    " + "".join(f"{heading:>15}" for heading in HEADINGS)]
    lines += [
        f"{verdict.role:<8}"
        + "".join(f"{verdict.counts[heading]:>15}" for heading in HEADINGS)
        for verdict in verdicts
    ]
    return "\n".join(lines)


def check_reports(
    reports: Mapping[str, Path],
    patterns: Iterable[str] = DEFAULT_PATTERNS,
    *,
    problems: Iterable[str] = (),
) -> bool:
    """Print the table, the problems and a closing line.

    Args:
        reports: The folder with the report of each role.
        patterns: Which cases must have been run.
        problems: What is known to be wrong already, a sentence each.

    Returns:
        Whether all is well.

    Raises:
        ValueError: If no case matches one of the patterns.

    """
    expected = find_cases(patterns)
    verdicts: list[Verdict] = []
    found = list(problems)
    for role, folder in reports.items():
        try:
            verdict = judge_role(role, folder, expected)
        except ReportError as error:
            found.append(f"{role}: {error}")
        else:
            verdicts.append(verdict)
            found += verdict.problems
    print(build_table(verdicts))
    for problem in found:
        print(problem)
    if found:
        print(f"autobahn: {len(found)} problem{'s' if len(found) > 1 else ''}")
    else:
        print(f"autobahn: passed, {len(expected)} cases in {len(reports)} roles")
    return not found


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the reports named on the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        help="folders with a report; the name of each is the role, client or server",
    )
    parser.add_argument(
        "--cases",
        nargs="+",
        default=DEFAULT_PATTERNS,
        metavar="PATTERN",
        help="the cases that must have been run (default: all)",
    )
    options = parser.parse_args(arguments)
    folders: list[Path] = options.folders
    patterns: list[str] = options.cases
    try:
        is_good = check_reports({folder.name: folder for folder in folders}, patterns)
    except ValueError as error:
        parser.error(str(error))
    return 0 if is_good else 1


def _count_up(last: str) -> list[str]:
    group, _, count = last.rpartition(".")
    return [f"{group}.{number}" for number in range(1, int(count) + 1)]


def _read_object(path: Path) -> dict[str, JSON]:
    try:
        value: JSON = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(path, error.strerror or "it cannot be read") from error
    except ValueError as error:
        raise ReportError(path, "it is not JSON") from error
    if not isinstance(value, dict):
        raise ReportError(path, "it is not a JSON object")
    return value


def _parse_result(path: Path, case: str, entry: JSON) -> CaseResult:
    match entry:
        case {
            "behavior": str(behavior),
            "behaviorClose": str(close_behavior),
            "reportfile": str(report),
        }:
            return CaseResult(case, behavior, close_behavior, path.parent / report)
        case _:
            raise ReportError(path, f"case {case} has no result")


def _classify(result: CaseResult | None, excused: str | None) -> str:
    if result is None:
        return "missing"
    faults = result.outcomes - PASSING
    if faults - {excused}:
        return "failed"
    if faults:
        return "excused"
    return "INFORMATIONAL" if "INFORMATIONAL" in result.outcomes else "OK"


def _describe(result: CaseResult) -> str:
    summary = f"{result.behavior}, close {result.close_behavior}"
    try:
        report = _read_object(result.report)
    except ReportError as error:
        return f"{summary} ({error})"
    return f"{summary}: {report.get('result')} {report.get('resultClose')}"


if __name__ == "__main__":
    sys.exit(main())
