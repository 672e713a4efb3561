"""Progress bars, which are drawn on a terminal only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cli.output.console import messages


def file_progress() -> Progress:
    """Return a bar of bytes with share, rate and remaining time."""
    return _progress(DownloadColumn(binary_units=True))


def block_progress() -> Progress:
    """Return a bar of blocks with share, rate and remaining time."""
    return _progress(MofNCompleteColumn())


@contextmanager
def phase_progress(
    channel: str,
) -> Iterator[tuple[Callable[[str, int], None], Callable[[int], None]]]:
    """Show a bar of blocks on a terminal; yield what begins a phase, and what advances it.

    A phase begins with a name and the number of its last block, and advances to a block's number.
    Its first block has the number 0.
    """
    with block_progress() as bar:
        task = bar.add_task(channel, total=None, rate="")

        def start(phase: str, last: int) -> None:
            bar.reset(task, total=last + 1, description=f"{phase} {channel}", rate="")

        def advance(number: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:,.0f} blocks/s" if speed else ""
            bar.update(task, completed=number + 1, rate=rate)

        yield start, advance


def _progress(amount: ProgressColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        amount,
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=messages,
        disable=not messages.is_terminal,
        transient=True,
    )
