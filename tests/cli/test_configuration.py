"""The configuration: its file, its variables, and the sample file."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest
from msgspec import Struct
from pydantic import BaseModel

from cli.assembly.reconciliation import configured_mapping
from cli.configuration.loading import PREFIX, load_settings
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError
from reconciliation.mapping import KINDLEDGER
from tests.cli.configuring import mistake, write
from tests.cli.support import ROOT

SAMPLE = ROOT / "config" / "kindledger.example.toml"


def test_without_a_file_or_variables_everything_has_a_default() -> None:
    assert load_settings(None).model_dump() == Settings().model_dump()
    assert (Settings().api.host, Settings().api.port) == ("127.0.0.1", 8080)


def test_a_variable_overrides_its_key_of_the_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path,
        '[api]\nhost = "0.0.0.0"\nport = 1\n[channels.one]\nstart_block = 5\n'
        '[log]\nlevel = "debug"',
    )
    monkeypatch.setenv("KINDLEDGER_API__PORT", "9000")
    monkeypatch.setenv("KINDLEDGER_CHANNELS__TWO__DATABASE", "second")
    monkeypatch.setenv("KINDLEDGER_FABRIC__PEERS", '[{"address": "grpc://p:7051"}]')
    settings = load_settings(path)
    assert (settings.api.host, settings.api.port, settings.log.level) == ("0.0.0.0", 9000, "debug")
    assert {name: channel.start_block for name, channel in settings.channels.items()} == {
        "one": 5,
        "two": 0,
    }
    assert (settings.database_of("one"), settings.database_of("two")) == ("one", "second")
    assert [peer.address for peer in settings.fabric.peers] == ["grpc://p:7051"]
    monkeypatch.setenv("KINDLEDGER_CONFIG", str(path))
    assert load_settings(None) == settings, "named by a variable instead of the option"


def test_every_mistake_is_listed_with_the_most_similar_valid_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, '[mongo]\nurl = "x"\n[api]\nport = 70000\n[fabric]\nmspid = "Org1MSP"')
    monkeypatch.setenv("KINDLEDGER_MONGO_URI", "mongodb://u:hunter2@h")
    monkeypatch.setenv("KINDLEDGER_API__HOTS", "::1")
    text = mistake(path)
    assert "KINDLEDGER_MONGO_URI: unknown variable, did you mean KINDLEDGER_MONGO__URI?" in text
    assert "api.hots (KINDLEDGER_API__HOTS): unknown key, did you mean api.host?" in text
    assert "mongo.url (KINDLEDGER_MONGO__URL): unknown key, did you mean mongo.uri?" in text
    assert (
        "fabric.mspid (KINDLEDGER_FABRIC__MSPID): unknown key, did you mean fabric.msp_id?" in text
    )
    assert re.search(
        r"api\.port \(KINDLEDGER_API__PORT\): Input should be less than or equal to 65535", text
    )
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mongo = [", "not TOML"),
        ("\0", "not TOML"),
        ("mongo = 5", "mongo (KINDLEDGER_MONGO)"),
        ('[fabric]\nclient_tls_key = "k"', "client_tls_certificate and client_tls_key go together"),
        ('[log]\nlevel = "loud"', "log.level"),
        ("[indexer]\npoll_s = 0", "indexer.poll_s"),
        ('[indexer]\npayload_fields = ["a.$b"]', "'a.$b': full stops join names"),
        ('[indexer]\npayload_fields = [""]', "no name is empty"),
        ('[indexer]\npayload_fields = ["a", "a"]', "name each field once"),
        (f"[indexer]\npayload_fields = {[str(n) for n in range(9)]}", "at most 8 items"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, says: str) -> None:
    assert says in mistake(write(tmp_path, text))
    assert "no-such.toml: cannot be read" in mistake(tmp_path / "no-such.toml")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "API__CORS_ORIGINS",
            "https://x",
            "api.cors_origins (KINDLEDGER_API__CORS_ORIGINS): takes JSON, for example",
        ),
        ("API__TOKENS", "hush", "api.tokens (KINDLEDGER_API__TOKENS): takes JSON, for example"),
        (
            "FABRIC__PEERS",
            "[",
            "fabric.peers (KINDLEDGER_FABRIC__PEERS): takes JSON, for example",
        ),
        (
            "API__CORS_ORIGINS",
            '"https://x"',
            "api.cors_origins (KINDLEDGER_API__CORS_ORIGINS): takes a list, for example",
        ),
        ("API__CORS_ORIGINS", '["https://x/"]', "'https://x/' is no origin"),
        ("API__CORS_ORIGINS", '["x.example.com"]', "'x.example.com' is no origin"),
    ],
)
def test_a_variable_that_is_not_a_list_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, says: str
) -> None:
    monkeypatch.setenv(PREFIX + name, text)
    said = mistake()
    assert says in said
    assert "hush" not in said


def test_valid_origins_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    origins = ("https://explorer.example.com", "http://localhost:3000", "http://[::1]:3000", "*")
    monkeypatch.setenv(f"{PREFIX}API__CORS_ORIGINS", json.dumps(origins))
    assert load_settings(None).api.cors_origins == origins


def test_a_channel_whose_name_cannot_be_a_database_needs_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings().database_of("a.b") == "a_b"
    for name in ("admin", "x" * 64):
        with pytest.raises(ConfigurationError, match="configure another"):
            Settings().database_of(name)


def test_the_sample_loads_and_has_every_key(tmp_path: Path) -> None:
    assert load_settings(SAMPLE).channels.keys() == {"kindledger"}
    everything = re.sub(r"(?m)^#(?=[a-z\[])", "", SAMPLE.read_text())
    settings = load_settings(write(tmp_path, everything))
    assert keys_of(tomllib.loads(everything)) == set(every_key(Settings))
    assert (
        configured_mapping(settings.reconcile)
        == configured_mapping(Settings().reconcile)
        == KINDLEDGER
    )


def test_the_sample_shows_the_defaults() -> None:
    """A key that is commented out shows its default, if it has one."""
    commented = tomllib.loads(re.sub(r"(?m)^(?:[a-z]|# ).*$|^#(?=[a-z\[])", "", SAMPLE.read_text()))
    defaults = json.loads(json.dumps(Settings().model_dump(by_alias=True)))
    for section in ("api", "monitoring", "log", "indexer", "postgres", "reconcile"):
        for key, default in defaults[section].items():
            assert default in (commented[section][key], None, []), f"{section}.{key}"


def keys_of(value: Any, prefix: str = "") -> set[str]:
    """Return the keys of a TOML document; `*` stands for the name of a channel."""
    if isinstance(value, list):
        return set().union(*(keys_of(item, prefix) for item in value))
    if not isinstance(value, dict):
        return {prefix}
    names = ((name, "*" if prefix == "channels" else name) for name in value)
    return set().union(
        *(keys_of(value[name], f"{prefix}.{shown}".lstrip(".")) for name, shown in names)
    )


def every_key(model: type[BaseModel | Struct], prefix: str = "") -> Iterator[str]:
    """Yield the keys of the settings in the same form."""
    if issubclass(model, Struct):
        yield from (f"{prefix}.{field.name}" for field in msgspec.structs.fields(model))
        return
    for name, field in model.model_fields.items():
        path = f"{prefix}.{field.alias or name}".lstrip(".")
        part = model_in(field.annotation)
        if part is not None:
            yield from every_key(
                part, f"{path}.*" if get_origin(field.annotation) is dict else path
            )
        else:
            yield path


def model_in(annotation: Any) -> type[BaseModel | Struct] | None:
    """Return the section or Struct in a field's type, also of a collection of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel | Struct):
        return annotation
    return next(
        (model for part in get_args(annotation) if (model := model_in(part)) is not None), None
    )
