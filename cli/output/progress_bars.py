"""Progress bars, which are drawn on a terminal only."""

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
