"""What the commands share: the configuration, the open service, and how they speak.

Results go to stdout, everything else to stderr. Progress is shown on a terminal and never on a pipe.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from aggregator.api.service import Service
from aggregator.app import open_service
from aggregator.config import load
from aggregator.sync.schedule import Observe

DEFAULT_CONFIG = Path("config.toml")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")]

_PIPE_WIDTH = 160  # a pipe has no width of its own

out = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
note = Console(stderr=True, highlight=False, soft_wrap=True)


def config_file(context: typer.Context) -> Path:
    """The file that --config names."""
    return Path(context.find_root().obj)


@contextmanager
def opened(context: typer.Context) -> Iterator[Service]:
    """The service of the configuration, until the end of the context. Raises OperatorError."""
    service = open_service(load(config_file(context)))
    try:
        yield service
    finally:
        service.close()


def say(text: str) -> None:
    """A sentence on stdout, on one line however wide the terminal is."""
    out.print(text, markup=False, soft_wrap=True)


def print_json(told: Any) -> None:
    """One object on stdout and a line's end."""
    sys.stdout.buffer.write(orjson.dumps(told) + b"\n")
    sys.stdout.flush()


def table(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """A table that fits a terminal: columns of text, then of numbers."""
    made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in columns:
        made.add_column(name, overflow="fold")
    for name in numbers:
        made.add_column(name, justify="right", no_wrap=True)
    return made


@contextmanager
def progress() -> Iterator[Progress]:
    """Bars on a terminal."""
    bars = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=note,
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bars:
        yield bars


def observer(bars: Progress, title: Callable[[str], str]) -> Observe:
    """A bar for each thing that is synced; `title` turns its id into a name for people."""
    tasks: dict[str, Any] = {}

    def observe(name: str, done: int, total: int | None) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(title(name), total=total)
        bars.update(tasks[name], completed=done, total=total)

    return observe
