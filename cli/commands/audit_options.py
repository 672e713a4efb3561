"""The options that the commands of `kindledger audit` share."""

from typing import Any

import click

from cli.audit.when import ALLOWED, When, read_when


class _WhenType(click.ParamType[When]):
    """An end of a range."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> When:
        """Return the end of the range, or end the command."""
        if isinstance(value, When):
            return value
        try:
            return read_when(value)
        except ValueError:
            self.fail(f"{value!r} is not {ALLOWED}", param, ctx)


from_option = click.option(
    "--from", "begin", type=_WhenType(), metavar="WHEN", help=f"Where the range begins: {ALLOWED}."
)
to_option = click.option(
    "--to", "end", type=_WhenType(), metavar="WHEN", help="Where it ends; a day or month, with it."
)
channel_option = click.option("--channel", help="The channel, if several are stored.")
csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout.")


def check_order(begin: When, end: When) -> None:
    """Raise `UsageError` if the range ends before it begins."""
    if begin.block is not None and end.block is not None:
        is_reversed = begin.block > end.block
    else:
        is_reversed = begin.begins is not None and end.ends is not None and begin.begins >= end.ends
    if is_reversed:
        raise click.UsageError(f"--to {end.text} is before --from {begin.text}")


def check_form(*, as_json: bool, as_csv: bool) -> None:
    """Raise `UsageError` if two forms of output are chosen."""
    if as_json and as_csv:
        raise click.UsageError("give only one of --json and --csv")
