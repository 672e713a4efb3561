"""The help texts of the commands."""

import re

import click
import pytest
from click.testing import CliRunner

from cli.command_line import kindledger

TERMINAL_COLUMNS = 80


def commands_of(group: click.Group) -> dict[str, click.Command]:
    context = click.Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in commands.items() if command is not None}


def groups(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of a group and of all groups below it."""
    paths = [path]
    for name, command in commands_of(group).items():
        if isinstance(command, click.Group):
            paths += groups(command, (*path, name))
    return paths


def help_of(*path: str) -> str:
    result = CliRunner().invoke(kindledger, [*path, "--help"], terminal_width=TERMINAL_COLUMNS)
    assert result.exit_code == 0
    return result.stdout


def test_help_names_every_command_and_exit_code() -> None:
    text = help_of()
    names = commands_of(kindledger).keys()
    assert names >= {
        *("run", "api", "import", "status", "verify", "doctor", "config", "demo"),
        *("reconcile", "migrate"),
    }
    codes = {"65", "69", "75", "78", "129", "130", "143"}
    words = set(re.findall(r"\w+", text))
    assert {*names, "KINDLEDGER_CONFIG", *codes} <= words
    assert CliRunner().invoke(kindledger, ["imprt"]).exit_code == 2


@pytest.mark.parametrize("path", groups(kindledger), ids=" ".join)
def test_each_command_has_one_complete_line_in_the_help_of_its_group(path: tuple[str, ...]) -> None:
    text = help_of(*path)
    group: click.Command = kindledger
    for name in path:
        assert isinstance(group, click.Group)
        group = commands_of(group)[name]
    assert isinstance(group, click.Group)
    lines = [line.strip() for line in text.partition("Commands:")[2].splitlines() if line.strip()]
    assert len(lines) == len(commands_of(group))
    for line, (name, command) in zip(lines, sorted(commands_of(group).items()), strict=True):
        assert line.split(maxsplit=1) == [name, command.short_help]
        assert str(command.short_help).endswith(".")
