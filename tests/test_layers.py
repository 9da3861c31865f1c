from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "pyproject.toml"
LEAVES = ("_close_reason", "_errors", "_options", "_version")
RUN_LINT_IMPORTS = (
    "import sys; from importlinter.cli import lint_imports; "
    "sys.exit(lint_imports(config_filename=sys.argv[1], no_cache=True, no_logo=True))"
)

grimp = pytest.importorskip("grimp")


def find_outside_imports(module: str) -> set[str]:
    """The top-level packages that a module, or what is in it, imports from outside."""
    graph = grimp.build_graph(
        "trio_websocket", include_external_packages=True, cache_dir=None
    )
    inside = {module} | graph.find_descendants(module)
    imported = {
        target
        for source in inside
        for target in graph.find_modules_directly_imported_by(source)
    }
    return {name.split(".")[0] for name in imported} - {"trio_websocket"}


def test_the_import_contracts_hold() -> None:
    run = subprocess.run(
        [sys.executable, "-c", RUN_LINT_IMPORTS, SETTINGS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_leaf_imports_the_standard_library_only() -> None:
    outside = {
        leaf: find_outside_imports(f"trio_websocket.{leaf}") - sys.stdlib_module_names
        for leaf in LEAVES
    }
    assert outside == {leaf: set() for leaf in LEAVES}


def test_what_is_imported_is_what_is_declared() -> None:
    declared = tomllib.loads(SETTINGS.read_text("utf-8"))["project"]["dependencies"]
    names = {re.split(r"[^\w-]", line)[0] for line in declared}
    assert find_outside_imports("trio_websocket") - sys.stdlib_module_names == names
