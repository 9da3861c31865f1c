from __future__ import annotations

import os
from collections.abc import Generator

import hypothesis
import pytest

# A slow machine is no failure; the time limit of a test is pytest's.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

Report = pytest.TestReport | pytest.CollectReport


def _forbid_skip(report: Report) -> None:
    """Turn a skip into a failure where every test must run."""
    if (
        report.skipped
        and not hasattr(report, "wasxfail")  # an expected failure, not a skip
        and os.environ.get("TRIO_WEBSOCKET_TEST_ALL")
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped where every test must run: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    report = yield
    _forbid_skip(report)
    return report
