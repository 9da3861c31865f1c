"""What is installed, and what comes along with it (S-30, T-53)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from sysconfig import get_config_var

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trio_websocket._version import __version__

ROOT = Path(__file__).parents[1]
BUILD = (
    "import sys; from setuptools.build_meta import build_wheel; "
    "build_wheel(sys.argv[1])"
)
IMPORT = (
    "import sys; before = set(sys.modules); import trio_websocket; "
    "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that nothing stale in build/ gets into it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("LICENSE", "MANIFEST.in", "README.rst", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, source)
    ignore = shutil.ignore_patterns("*.so", "*.pyd")
    shutil.copytree(ROOT / "trio_websocket", source / "trio_websocket", ignore=ignore)
    shutil.copytree(ROOT / "tests", source / "tests")
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, target], cwd=source, check=True)
    [found] = target.glob("*.whl")
    return found


def find_distributions(*names: str) -> set[str]:
    """Find what comes along with these distributions here, themselves included."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


@pytest.mark.skipif(
    sys.implementation.name != "cpython" or bool(get_config_var("Py_GIL_DISABLED")),
    reason="only ordinary CPython has a stable ABI",
)
def test_a_wheel_is_for_every_python_and_has_our_version(wheel: Path) -> None:
    assert wheel.name.startswith(f"trio_websocket-{__version__}-cp311-abi3-")


def test_a_wheel_holds_the_compiled_lane_and_not_its_source(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    suffixes = {name.rpartition(".")[2] for name in names if "_speedups" in name}
    is_built = find_spec("trio_websocket._protocol._speedups") is not None
    assert suffixes - {"so", "pyd"} == {"pyi"}
    assert len(suffixes) == 1 + is_built


def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0].removesuffix(".dist-info") for name in names}
    assert folders == {"trio_websocket", f"trio_websocket-{__version__}"}


def test_a_wheel_says_that_it_is_typed(wheel: Path) -> None:
    assert "trio_websocket/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_a_wheel_holds_every_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "trio_websocket").rglob("*.py")
    }
    assert modules <= names


def test_a_wheel_requires_what_is_declared_and_nothing_else(wheel: Path) -> None:
    # S-30
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
    required = message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "optional-dependencies" not in project
    assert {str(Requirement(line)) for line in required} == {
        str(Requirement(line)) for line in project["dependencies"]
    }


def test_what_is_imported_comes_along_with_trio_and_wsproto() -> None:
    # S-30
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, check=True, text=True
    )
    owners = metadata.packages_distributions()
    others = set(done.stdout.split()) - sys.stdlib_module_names - {"trio_websocket"}
    imported = {
        canonicalize_name(owner)
        for package in others
        for owner in owners.get(package, [package])
    }
    assert {"trio", "wsproto"} <= imported <= find_distributions("trio", "wsproto")
