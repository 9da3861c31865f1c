"""What the results depend on: the machine, and the versions of the libraries."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from children import HERE, Settings, find_cpus

_LIBRARIES = (
    "trio-websocket",
    "trio",
    "wsproto",
    "websockets",
    "aiohttp",
    "picows",
    "uvloop",
)
# Run by the interpreter of an environment.
_QUESTION = """
import importlib.metadata, json, platform, sys, trio_websocket
found = {"Python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps([found, getattr(trio_websocket, "lane", "none")]))
"""
_TIME_LIMIT = 30


def describe_machine(settings: Settings, rounds: int) -> dict[str, str]:
    """Note what the results depend on."""
    versions, lane = find_versions(settings.python)
    old_versions, _ = find_versions(settings.old_python)
    return {
        "machine": f"{find_model()}, {os.cpu_count()} CPUs, {platform.system()} "
        f"{platform.release()}",
        "versions": format_versions(versions),
        "versions for 0.12.2": format_versions(old_versions),
        "lane": lane,
        "CPUs used": ", ".join(map(str, find_cpus())) or "not pinned",
        "rounds": f"{rounds} of {settings.seconds:g} s",
    }


def find_model() -> str:
    """Find the name of the processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def find_versions(python: Path) -> tuple[Mapping[str, str], str]:
    """Ask an interpreter for the versions of all libraries, and for our lane."""
    answer = subprocess.run(
        [str(python), "-c", _QUESTION, *_LIBRARIES],
        check=True,
        capture_output=True,
        timeout=_TIME_LIMIT,
        cwd=HERE,
    )
    versions: Mapping[str, str]
    lane: str
    versions, lane = json.loads(answer.stdout)
    return versions, lane


def format_versions(versions: Mapping[str, str]) -> str:
    """Write the versions in one line."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())
