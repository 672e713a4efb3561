"""Texts of unknown authors are escaped before they are printed."""

import pytest

from cli.output.console import print_table


def test_a_table_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("[b]name", "value"), [("[red]x[/red]", "\x1b[2J\n\u202e"), (None, 1234)])
    shown = capsys.readouterr().out
    assert "[red]x[/red]" in shown
    assert "\\x1b[2J\\n\\u202e" in shown
    assert "1,234" in shown
