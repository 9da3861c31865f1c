"""Measure this library beside its peers: how fast, at what price, and how fairly.

Each library runs in a process of its own, against a counterpart on plain sockets that
is the same for all. README.rst says what is measured and how to read the results.
"""

from __future__ import annotations

import argparse
import importlib
import math
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio
import trustme
from children import HERE, Settings, find_placements
from conductor import Conductor, Selection
from machine import describe_machine
from results import Results, load_results
from roster import ROSTER
from rows import PLACEMENTS, ROLES, ROWS
from spreadsheet import write_csv, write_ratios
from table import format_results

QUICK_ROWS = ["receive-64", "send-64", "echo-64", "openings"]
QUICK_PEERS = ["ours", "ours-many", "old", "websockets-trio", "picows-uvloop"]
QUICK_SECONDS = 0.2


@dataclass(slots=True)
class Options:
    """The command line, as ``make_parser`` describes it."""

    rows: list[str]
    peers: list[str]
    roles: list[str]
    placement: list[str]
    rounds: int
    seconds: float
    time_limit: float
    calm: float
    quick: bool
    list: bool
    json: Path | None
    table: Path | None
    plot: Path | None
    csv: Path | None
    ratios: Path | None

    def hurry(self) -> None:
        """Do with less, for a look at whether everything works."""
        self.rows = self.rows or QUICK_ROWS
        self.peers = self.peers or QUICK_PEERS
        self.placement = ["two-cores"]
        self.rounds, self.seconds = 1, QUICK_SECONDS


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rows", type=parse_list, default=[], metavar="NAMES", help=_ROWS_HELP)
    add("--peers", type=parse_list, default=[], metavar="NAMES", help=_PEERS_HELP)
    add("--roles", type=parse_list, default=list(ROLES), help=f"of {','.join(ROLES)}")
    add(
        "--placement",
        type=parse_list,
        default=list(PLACEMENTS),
        help=f"of {','.join(PLACEMENTS)}",
    )
    add("--rounds", type=int, default=5, help="(default: %(default)s)")
    add("--seconds", type=float, default=0.3, help=_SECONDS_HELP)
    add("--time-limit", type=float, default=20, metavar="SECONDS", help=_LIMIT_HELP)
    add("--calm", type=float, default=math.inf, metavar="CPUS", help=_CALM_HELP)
    add("--quick", action="store_true", help="one short round of a few rows and peers")
    add("--list", action="store_true", help="print the names of rows and peers")
    add("--json", type=Path, metavar="FILE", help="save the results, now and then, too")
    add("--table", type=Path, metavar="FILE", help="show saved results, measure none")
    add("--plot", type=Path, metavar="FOLDER", help="draw the results, too")
    add("--csv", type=Path, metavar="FOLDER", help="write the medians as tables, too")
    add("--ratios", type=Path, metavar="FOLDER", help="write how we compare, too")
    return parser


_ROWS_HELP = "rows, or patterns such as 'echo-*', with commas (default: all)"
_PEERS_HELP = "peers, or patterns such as 'ours*', with commas (default: all)"
_SECONDS_HELP = (
    "the length of a measurement, after a quarter of it to warm up"
    " (default: %(default)s)"
)
_LIMIT_HELP = "the time that a measurement may take beyond that (default: %(default)s)"
_CALM_HELP = (
    "the CPU time that other programs may take meanwhile; a measurement that they"
    " disturb more is repeated, three times at most (default: never)"
)


def parse_list(text: str) -> list[str]:
    """Split at commas."""
    return [part for part in text.split(",") if part]


def list_names() -> None:
    """Print what can be measured."""
    print("rows:")
    for row in ROWS:
        print(f"  {row.name:24} {row.title} ({row.figure.unit})")
    print("peers:")
    for peer in ROSTER:
        print(f"  {peer.name:24} {peer.title}")


def find_python(folder: str) -> Path:
    """Find the interpreter of an environment, or else take our own."""
    python = HERE / folder / "bin" / "python"
    return python if python.exists() else Path(sys.executable)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a throw-away certificate: what a server has, and what trusts it."""
    authority = trustme.CA()
    certificate, trusted = folder / "server.pem", folder / "authority.pem"
    chain = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    chain.write_to_path(str(certificate))
    authority.cert_pem.write_to_path(str(trusted))
    return certificate, trusted


def measure_all(options: Options) -> Results:
    """Measure what the options say.

    Raises:
        ValueError: If they select nothing.

    """
    possible = find_placements()
    placements = [it for it in options.placement if it in possible]
    if not placements:
        raise ValueError(f"of placements, this machine allows {','.join(possible)}")
    jobs = Selection(options.rows, options.peers, options.roles, placements).find_jobs()
    if not jobs:
        raise ValueError("nothing has these names; --list prints them")
    with tempfile.TemporaryDirectory() as folder:
        certificate, authority = make_certificate(Path(folder))
        settings = Settings(
            python=find_python(".venv"),
            old_python=find_python(".venv-old"),
            seconds=options.seconds,
            time_limit=options.time_limit,
            certificate=certificate,
            authority=authority,
        )
        results = Results(describe_machine(settings, options.rounds))
        conductor = Conductor(settings, jobs, options.rounds, options.calm)

        def save() -> None:
            if options.json is not None:
                results.save(options.json)

        # The conductor ends at SIGTERM. It may come twice, to us and to our group, and
        # the second one must not take away what was measured.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        trio.run(conductor.run, results.results, save)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or show what was measured; return the exit code."""
    parser = make_parser()
    options = Options(**vars(parser.parse_args(arguments)))
    if options.list:
        list_names()
        return 0
    if options.quick:
        options.hurry()
    if options.table is not None:
        results = load_results(options.table)
    else:
        try:
            results = measure_all(options)
        except ValueError as error:
            parser.error(str(error))
    print(format_results(results))
    if options.csv is not None:
        write_csv(results, options.csv)
    if options.ratios is not None:
        write_ratios(results, options.ratios)
    if options.plot is not None:
        # Only here, for matplotlib is large and nothing else needs it.
        importlib.import_module("plots").draw_plots(results, options.plot)
    return 1 if results.has_errors() else 0


if __name__ == "__main__":
    sys.exit(main())
