"""Run the Autobahn test suite against the library, as a client and as a server.

The suite needs Python 2.7. It is installed once, into a virtual environment of its own
under ``build/autobahn``, where the logs and reports are, too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio
from check import DEFAULT_PATTERNS, check_reports, find_cases
from client import AGENT

HERE = Path(__file__).resolve().parent
WORK = HERE.parent / "build" / "autobahn"
SUITE = "autobahntestsuite==0.8.2"
# The last series that can make an environment for Python 2.7.
VIRTUALENV = "virtualenv<20.22"
# pyenv's python2.7 refuses to run unless it is told which one; this is the last one.
PYENV_VERSION = "2.7.18"
HOST = "127.0.0.1"
INSTALL_TIMEOUT = 600
READY_TIMEOUT = 30


class RunError(Exception):
    """The suite cannot be installed or run. The text is a sentence."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The installed test suite, and what both roles need to know.

    Attributes:
        wstest: The program of the suite.
        patterns: Which cases to run.
        time_limit: The time that each role may take, in seconds.

    """

    wstest: Path
    patterns: Sequence[str]
    time_limit: float

    async def run_client(self, port: int) -> None:
        """Run the library as a client, against the fuzzing server on a port."""
        url = f"ws://{HOST}:{port}"
        fuzzer = self._build_command(
            "fuzzingserver", {"url": url, "outdir": str(find_report("client"))}
        )
        await self._run_pair(
            port,
            server=("fuzzingserver", fuzzer),
            client=("client", [sys.executable, str(HERE / "client.py"), url]),
        )

    async def run_server(self, port: int) -> None:
        """Run the library as a server on a port, against the fuzzing client."""
        fuzzer = self._build_command(
            "fuzzingclient",
            {
                "servers": [{"url": f"ws://{HOST}:{port}", "agent": AGENT}],
                "outdir": str(find_report("server")),
            },
        )
        echo = [sys.executable, str(HERE / "server.py"), f"--port={port}"]
        await self._run_pair(
            port, server=("server", echo), client=("fuzzingclient", fuzzer)
        )

    async def _run_pair(
        self,
        port: int,
        *,
        server: tuple[str, Sequence[str]],
        client: tuple[str, Sequence[str]],
    ) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, *server)
            await wait_until_ready(port)
            await run_program(*client, time_limit=self.time_limit)
            nursery.cancel_scope.cancel()

    async def _serve(self, name: str, command: Sequence[str]) -> None:
        # Its client starts at most READY_TIMEOUT later, and has to hit its limit first.
        await run_program(name, command, time_limit=self.time_limit + READY_TIMEOUT)
        raise RunError(f"{name} ended before its client")

    def _build_command(self, mode: str, config: Mapping[str, object]) -> list[str]:
        path = WORK / f"{mode}.json"
        cases = {"cases": list(self.patterns), "exclude-cases": []}
        path.write_text(json.dumps({**config, **cases}), encoding="utf-8")
        # Without --webport=0 the fuzzing server would serve its reports on port 8080.
        return [str(self.wstest), f"--mode={mode}", f"--spec={path}", "--webport=0"]


async def run_program(name: str, command: Sequence[str], *, time_limit: float) -> None:
    """Run a program to its end, with its output in a log.

    Raises:
        RunError: If it cannot be started, fails, or takes more seconds than the limit.

    Cancellation:
        The program is told to end, and is killed if it has not done so in 5 s.

    """
    log = WORK / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # A log that lags behind would not show where a program hangs.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    try:
        with log.open("wb") as output, trio.fail_after(time_limit):
            await trio.run_process(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
    except OSError as error:
        raise RunError(f"{name} cannot be started: {error}") from error
    except subprocess.CalledProcessError as error:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise RunError(
            f"{name} ended with exit code {error.returncode}, its last words:\n{end}"
        ) from error
    except trio.TooSlowError as error:
        raise RunError(
            f"{name} took longer than {time_limit:g} s, see {log}"
        ) from error


async def wait_until_ready(port: int) -> None:
    """Wait until somebody listens on a port.

    Raises:
        RunError: If nobody does within 30 s.

    """
    with trio.move_on_after(READY_TIMEOUT):
        while True:
            try:
                stream = await trio.open_tcp_stream(HOST, port)
            except OSError:
                await trio.sleep(0.1)
            else:
                await stream.aclose()
                return
    raise RunError(f"nobody listens on port {port} after {READY_TIMEOUT} s")


def pick_ports(count: int) -> list[int]:
    """Find ports that are free at the moment, all different."""
    listeners = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports: list[int] = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def find_report(role: str) -> Path:
    """Find the folder for the report on one role."""
    return WORK / "reports" / role


async def find_python27() -> str:
    """Find an interpreter of Python 2.7.

    Raises:
        RunError: If there is none.

    """
    program = shutil.which("python2.7")
    for extra in ({}, {"PYENV_VERSION": PYENV_VERSION}):
        if program is None:
            break
        answer = await trio.run_process(
            [program, "-c", "import sys; print(sys.executable)"],
            capture_stdout=True,
            stderr=subprocess.DEVNULL,
            check=False,
            env={**os.environ, **extra},
        )
        if answer.returncode == 0:
            return os.fsdecode(answer.stdout).strip()
    raise RunError(
        "the Autobahn test suite needs Python 2.7 and there is no python2.7 that runs"
    )


async def install_suite() -> Path:
    """Make the environment of the suite unless it is there, and find its program.

    Raises:
        RunError: If there is no Python 2.7, or something cannot be installed.

    """
    tool, home = WORK / "virtualenv", WORK / "suite"
    # Written last: an installation that was interrupted is made anew.
    stamp = home / "installed"
    if not stamp.exists():
        python27 = await find_python27()
        print(f"installing {SUITE} for {python27}", flush=True)
        for folder in (tool, home):
            shutil.rmtree(folder, ignore_errors=True)
        for name, command in {
            "venv": [sys.executable, "-m", "venv", str(tool)],
            "virtualenv-pip": [str(tool / "bin" / "pip"), "install", VIRTUALENV],
            "virtualenv": [
                str(tool / "bin" / "virtualenv"),
                f"--python={python27}",
                str(home),
            ],
            "suite-pip": [str(home / "bin" / "pip"), "install", SUITE],
        }.items():
            await run_program(name, command, time_limit=INSTALL_TIMEOUT)
        stamp.touch()
    return home / "bin" / "wstest"


async def run_role(
    run: Callable[[int], Awaitable[None]], port: int, problems: list[str]
) -> None:
    """Run one role; what prevents it is a problem, and the other role goes on."""
    try:
        await run(port)
    except* RunError as errors:
        problems += [str(error) for error in errors.exceptions]


async def run_roles(suite: Suite) -> list[str]:
    """Run both roles at the same time.

    Returns:
        A sentence for each thing that prevented a run.

    """
    # An old report must not pass for a new one.
    shutil.rmtree(WORK / "reports", ignore_errors=True)
    problems: list[str] = []
    async with trio.open_nursery() as watch:
        watch.start_soon(stop_when_terminated, watch.cancel_scope, problems)
        async with trio.open_nursery() as nursery:
            for run, port in zip(
                (suite.run_client, suite.run_server), pick_ports(2), strict=True
            ):
                nursery.start_soon(run_role, run, port, problems)
        watch.cancel_scope.cancel()
    return problems


async def stop_when_terminated(scope: trio.CancelScope, problems: list[str]) -> None:
    """Cancel a scope at SIGTERM, which would otherwise leave our children alone."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            problems.append("the run was terminated")
            scope.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite, check its reports, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cases",
        nargs="+",
        default=DEFAULT_PATTERNS,
        metavar="PATTERN",
        help="numbers of cases, or patterns such as '6.*' (default: all)",
    )
    parser.add_argument(
        "--wstest",
        type=Path,
        metavar="PROGRAM",
        help="a wstest that is already installed, instead of one of our own",
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        default=3600,
        metavar="SECONDS",
        help="the time that each role may take (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    patterns: Sequence[str] = options.cases
    wstest: Path | None = options.wstest
    time_limit: float = options.time_limit
    try:
        find_cases(patterns)
    except ValueError as error:
        parser.error(str(error))
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        suite = Suite(wstest or trio.run(install_suite), patterns, time_limit)
    except RunError as error:
        print(f"autobahn: {error}")
        return 1
    problems = trio.run(run_roles, suite)
    reports = {role: find_report(role) for role in ("client", "server")}
    return 0 if check_reports(reports, patterns, problems=problems) else 1


if __name__ == "__main__":
    sys.exit(main())
