from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

SKIPS = {
    "in_a_test": "import pytest\ndef test_it(): pytest.skip('no such program')",
    "by_a_mark": "import pytest\n@pytest.mark.skip\ndef test_it(): pass",
    "of_a_module": "import pytest\npytest.importorskip('no_such_module')",
}
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert 0"


@pytest.fixture
def conftest(request: pytest.FixtureRequest) -> object:
    """The very module that pytest runs these tests with, so that it is measured."""
    return request.config.pluginmanager.getplugin(str(CONFTEST))


@pytest.mark.parametrize("source", SKIPS.values(), ids=SKIPS)
def test_a_skip_is_a_failure_where_every_test_must_run(
    source: str,
    pytester: pytest.Pytester,
    conftest: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRIO_WEBSOCKET_TEST_ALL", "1")
    pytester.makepyfile(source)
    run = pytester.runpytest_inprocess(plugins=[conftest])
    assert run.ret != pytest.ExitCode.OK
    assert run.parseoutcomes().keys() & {"failed", "errors"}
    assert "skipped" not in run.parseoutcomes()


@pytest.mark.parametrize("source", SKIPS.values(), ids=SKIPS)
def test_a_skip_is_a_skip_elsewhere(
    source: str,
    pytester: pytest.Pytester,
    conftest: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TRIO_WEBSOCKET_TEST_ALL", raising=False)
    pytester.makepyfile(source)
    pytester.runpytest_inprocess(plugins=[conftest]).assert_outcomes(skipped=1)


def test_an_expected_failure_is_not_a_skip(
    pytester: pytest.Pytester, conftest: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIO_WEBSOCKET_TEST_ALL", "1")
    pytester.makepyfile(EXPECTED_FAILURE)
    run = pytester.runpytest_inprocess(plugins=[conftest])
    assert run.ret == pytest.ExitCode.OK
    run.assert_outcomes(xfailed=1)
