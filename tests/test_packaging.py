from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from trio_websocket._version import __version__

ROOT = Path(__file__).parents[1]
BUILD = (
    "import sys; from setuptools.build_meta import build_wheel; "
    "build_wheel(sys.argv[1])"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that nothing stale in build/ gets into it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("LICENSE", "MANIFEST.in", "README.rst", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "trio_websocket", source / "trio_websocket")
    shutil.copytree(ROOT / "tests", source / "tests")
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, target], cwd=source, check=True)
    [found] = target.glob("*.whl")
    return found


def test_a_wheel_is_for_every_python_and_has_our_version(wheel: Path) -> None:
    assert wheel.name == f"trio_websocket-{__version__}-py3-none-any.whl"


def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0].removesuffix(".dist-info") for name in names}
    assert folders == {"trio_websocket", wheel.name.removesuffix("-py3-none-any.whl")}


def test_a_wheel_says_that_it_is_typed(wheel: Path) -> None:
    assert "trio_websocket/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_a_wheel_holds_every_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "trio_websocket").rglob("*.py")
    }
    assert modules <= names
