from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest


def load_check() -> ModuleType:
    path = Path(__file__).parent.parent / "autobahn" / "check.py"
    spec = importlib.util.spec_from_file_location("autobahn_check", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


check = load_check()
CASES = ("1.1.1", "2.1", "2.2")
GOOD = dict.fromkeys(CASES, ("OK", "OK"))


def write_report(
    folder: Path, results: Mapping[str, tuple[str, str]], *, agent: str = "library"
) -> Path:
    folder.mkdir()
    index = {
        case: {
            "behavior": behavior,
            "behaviorClose": close_behavior,
            "duration": 2,
            "remoteCloseCode": 1000,
            "reportfile": f"{case}.json",
        }
        for case, (behavior, close_behavior) in results.items()
    }
    (folder / "index.json").write_text(json.dumps({agent: index}))
    details = {"result": "The echo came late.", "resultClose": "The code was 1002."}
    for case in results:
        (folder / f"{case}.json").write_text(json.dumps(details))
    return folder


def test_all_cases_are_expected() -> None:
    cases = check.find_cases(check.DEFAULT_PATTERNS)
    assert len(cases) == len(set(cases)) == 517
    sections = [case.partition(".")[0] for case in cases]
    counts = {section: sections.count(section) for section in sections}
    assert counts == {
        "1": 16,
        "2": 11,
        "3": 7,
        "4": 10,
        "5": 20,
        "6": 145,
        "7": 37,
        "9": 54,
        "10": 1,
        "12": 90,
        "13": 126,
    }


def test_cases_are_found_by_number_and_by_pattern_in_their_order() -> None:
    assert check.find_cases(["10.*", "7.5.1", "4.1.*", "4.1.2"]) == [
        "4.1.1",
        "4.1.2",
        "4.1.3",
        "4.1.4",
        "4.1.5",
        "7.5.1",
        "10.1.1",
    ]


def test_a_pattern_without_a_case_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^no case matches '8\.\*'$"):
        check.find_cases(["1.*", "8.*"])


def test_the_exemptions_are_at_most_three_and_about_cases_that_exist() -> None:
    assert len(check.EXEMPTIONS) <= 3
    assert all(each.role in {"client", "server"} for each in check.EXEMPTIONS)
    assert all(check.find_cases([each.case]) for each in check.EXEMPTIONS)


@pytest.mark.parametrize("outcome", ["FAILED", "WRONG CODE", "OK"])
def test_an_exemption_excuses_no_failure(outcome: str) -> None:
    with pytest.raises(ValueError, match=f"^'{outcome}' has no excuse$"):
        check.Exemption("client", "2.1", outcome, "it is late")


def test_an_exemption_needs_a_reason() -> None:
    with pytest.raises(ValueError, match=r"^an exemption needs a reason$"):
        check.Exemption("client", "2.1", "UNCLEAN", "")


def test_cases_that_are_ok_or_informational_pass(tmp_path: Path) -> None:
    results = {
        "1.1.1": ("OK", "OK"),
        "2.1": ("INFORMATIONAL", "OK"),
        "2.2": ("OK", "INFORMATIONAL"),
    }
    verdict = check.judge_role("client", write_report(tmp_path / "r", results), CASES)
    assert verdict.problems == ()
    assert verdict.counts == {
        "OK": 1,
        "INFORMATIONAL": 2,
        "excused": 0,
        "failed": 0,
        "missing": 0,
        "unexpected": 0,
    }


@pytest.mark.parametrize(
    ("behavior", "close_behavior"),
    [
        ("FAILED", "OK"),
        ("NON-STRICT", "OK"),
        ("UNIMPLEMENTED", "OK"),
        ("OK", "FAILED"),
        ("OK", "UNCLEAN"),
        ("OK", "WRONG CODE"),
        ("OK", "FAILED BY CLIENT"),
        ("INFORMATIONAL", "FAILED"),
        ("a word of the future", "OK"),
    ],
)
def test_any_other_result_fails(
    tmp_path: Path, behavior: str, close_behavior: str
) -> None:
    results = {**GOOD, "2.1": (behavior, close_behavior)}
    verdict = check.judge_role("server", write_report(tmp_path / "r", results), CASES)
    assert verdict.counts["OK"] == 2
    assert verdict.counts["failed"] == 1
    (problem,) = verdict.problems
    assert problem == (
        f"server 2.1: {behavior}, close {close_behavior}: "
        "The echo came late. The code was 1002."
    )


def test_a_failure_is_told_even_if_its_details_are_lost(tmp_path: Path) -> None:
    folder = write_report(tmp_path / "r", {**GOOD, "2.1": ("FAILED", "OK")})
    details = folder / "2.1.json"
    details.unlink()
    (problem,) = check.judge_role("client", folder, CASES).problems
    assert problem == (
        f"client 2.1: FAILED, close OK ({details} is not a report: "
        "No such file or directory)"
    )


def test_missing_and_unexpected_cases_fail(tmp_path: Path) -> None:
    results = {"1.1.1": ("OK", "OK"), "14.1.1": ("OK", "OK"), "2.2": ("OK", "OK")}
    verdict = check.judge_role("client", write_report(tmp_path / "r", results), CASES)
    assert verdict.problems == (
        "client 2.1: the case is missing",
        "client 14.1.1: the case is unexpected",
    )
    assert verdict.counts["missing"] == verdict.counts["unexpected"] == 1


@pytest.mark.parametrize(
    ("role", "results", "heading"),
    [
        ("client", ("NON-STRICT", "OK"), "excused"),
        ("client", ("OK", "NON-STRICT"), "excused"),
        ("client", ("OK", "OK"), "OK"),
        ("client", ("NON-STRICT", "UNCLEAN"), "failed"),
        ("client", ("FAILED", "OK"), "failed"),
        ("server", ("NON-STRICT", "OK"), "failed"),
    ],
)
def test_an_exemption_excuses_one_result_of_one_case_in_one_role(
    tmp_path: Path, role: str, results: tuple[str, str], heading: str
) -> None:
    exemption = check.Exemption("client", "2.1", "NON-STRICT", "the RFC allows it")
    folder = write_report(tmp_path / "r", {**GOOD, "2.1": results})
    verdict = check.judge_role(role, folder, ["2.1", "2.2"], exemptions=[exemption])
    assert verdict.counts[heading] == (2 if heading == "OK" else 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("{}", "it is about 0 agents, not about one"),
        ('{"a": {}, "b": {}}', "it is about 2 agents, not about one"),
        ('{"a": 1}', "the agent has no cases"),
        ('{"a": {"2.1": {"behavior": "OK"}}}', "case 2.1 has no result"),
        ('{"a": {"2.1": "OK"}}', "case 2.1 has no result"),
    ],
)
def test_what_is_not_a_report_is_an_error(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "index.json"
    path.write_text(text)
    with pytest.raises(check.ReportError) as caught:
        check.read_results(tmp_path)
    assert str(caught.value) == f"{path} is not a report: {problem}"


def test_the_program_prints_a_table_and_a_closing_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"7.1.6": ("INFORMATIONAL", "INFORMATIONAL"), "7.5.1": ("OK", "OK")}
    folders = [
        str(write_report(tmp_path / role, good)) for role in ("client", "server")
    ]
    assert check.main([*folders, "--cases", "7.1.6", "7.5.*"]) == 0
    heads, client, server, closing = capsys.readouterr().out.splitlines()
    assert heads.split() == ["role", *check.HEADINGS]
    assert client.split() == ["client", "1", "1", "0", "0", "0", "0"]
    assert server.split() == ["server", "1", "1", "0", "0", "0", "0"]
    assert closing == "autobahn: passed, 2 cases in 2 roles"


def test_the_program_names_each_problem_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = write_report(tmp_path / "client", {"7.5.1": ("OK", "UNCLEAN")})
    server = tmp_path / "server"
    assert check.main([str(client), str(server), "--cases", "7.5.1"]) == 1
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "client 7.5.1: OK, close UNCLEAN: The echo came late. The code was 1002.",
        f"server: {server / 'index.json'} is not a report: No such file or directory",
        "autobahn: 2 problems",
    ]


def test_a_problem_that_is_known_already_fails_good_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = {"client": write_report(tmp_path / "client", {"7.5.1": ("OK", "OK")})}
    assert check.check_reports(reports, ["7.5.1"])
    assert not check.check_reports(reports, ["7.5.1"], problems=["client hung"])
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "client hung",
        "autobahn: 1 problem",
    ]


def test_the_program_expects_all_cases_unless_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = dict.fromkeys(check.find_cases(["*"]), ("OK", "OK"))
    folder = write_report(tmp_path / "client", results)
    assert check.main([str(folder)]) == 0
    del results["9.8.6"]
    short = write_report(tmp_path / "server", results)
    assert check.main([str(short)]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "server 9.8.6: the case is missing",
        "autobahn: 1 problem",
    ]


def test_the_program_refuses_a_pattern_without_a_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        check.main([str(tmp_path), "--cases", "14.*"])
    assert caught.value.code == 2
    assert "no case matches '14.*'" in capsys.readouterr().err
