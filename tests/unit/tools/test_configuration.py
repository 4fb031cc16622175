"""The configuration file: parsing, and doc/configuration.md held against the program."""

import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from runtime.config import Config, absolute, host_and_port, load, parse
from runtime.errors import ConfigError

DOCUMENT = Path(__file__).parents[3] / "doc" / "configuration.md"


class Documented(NamedTuple):
    """One row of the table."""

    key: str
    default: Any
    allowed: str
    meaning: str


def documented() -> list[Documented]:
    rows = re.findall(
        r"^\| `([a-z_]+)` \| `(.+?)` \| (.+?) \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE
    )
    return [
        Documented(key, tomllib.loads(f"x = {default}")["x"], allowed, meaning)
        for key, default, allowed, meaning in rows
    ]


def ranges() -> list[tuple[str, int, int]]:
    found = [(row.key, re.fullmatch(r"(-?\d+) … (\d+)", row.allowed)) for row in documented()]
    return [(key, int(match[1]), int(match[2])) for key, match in found if match]


def test_every_key_is_documented_in_order_with_its_default() -> None:
    fields = {field.encode_name: field.default for field in msgspec.structs.fields(Config)}
    fields |= {
        field.encode_name: field.default_factory()
        for field in msgspec.structs.fields(Config)
        if field.default_factory is not msgspec.NODEFAULT
    }
    assert {row.key: row.default for row in documented()} == fields
    assert all(len(row.meaning) > 20 for row in documented())


def test_every_number_has_its_range_documented() -> None:
    numbers = {row.key for row in documented() if type(row.default) in (int, float)}
    assert {key for key, _, _ in ranges()} == numbers


@pytest.mark.parametrize(("key", "low", "high"), ranges())
def test_the_documented_range_is_the_programs(key: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(parse(f"{key} = {value}", "file"), key) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=f"{key} is {value}"):
            parse(f"{key} = {value}", "file")


def test_the_documented_example_is_valid() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    config = parse(example, "example")
    assert config.endpoint == "https://127.0.0.1:443"
    assert len(config.device_paths) == 4


def test_the_documented_node_is_valid() -> None:
    text = (DOCUMENT.parent / "cluster.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    config = parse(example, "example")
    assert (config.own_address, config.keeps) == ("n1.example.net:7100", True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("colour = 1", "unknown field `colour`"),
        ("port = 1.5", "port"),
        ("domains = [1]", "domains"),
        ("[port]\nx = 1", "port"),
        ('tls_key = "k"', "tls_certificate and tls_key go together"),
        ("drain_s = nan", "drain_s"),
        ('zone = ""', "zone must be 1 to 63 letters"),
        ('node = "a b"', "node must be 1 to 63 letters"),
        ('keepers = ["a:1"]', "keepers is for a node of a cluster"),
        ('cluster_address = "a:1"', "cluster_address is for a node of a cluster"),
        ('cluster_ca = "x"', "cluster_ca, cluster_certificate and cluster_key go together"),
        ('cluster_listen = "8082"', "'8082' is not an address of the form HOST:PORT"),
        ('cluster_listen = "::1:8082"', "an IPv6 address goes in brackets"),
        ('cluster_listen = "a:70000"', "the port is not within"),
        ('cluster_listen = "0.0.0.0:8082"', "cluster_address must be given"),
        ('cluster_listen = "a:1"\nkeepers = ["a:1", "b:1"]', "1, 3 or 5 different nodes"),
        ('cluster_listen = "a:1"\nkeepers = ["a:1", "a:1", "b:1"]', "1, 3 or 5 different nodes"),
        ('cluster_listen = "a:1"\nkeepers = ["a:1"]', "needs cluster_secret_file"),
        ("port = 1\nport = 2", "file"),
        ("=", "file"),
    ],
)
def test_what_is_wrong_is_named(text: str, reason: str) -> None:
    with pytest.raises(
        ConfigError, match=f"^file: .*{re.escape(reason)}" if reason != "file" else "^file: "
    ):
        parse(text, "file")


CLUSTER = """
cluster_listen = "0.0.0.0:8082"
cluster_address = "[fd00::2]:8082"
keepers = ["[fd00::1]:8082", "[fd00::2]:8082", "b.example.org:8082"]
cluster_secret_file = "secret"
"""


def test_a_node_knows_its_address_and_whether_it_is_a_keeper() -> None:
    config = parse(CLUSTER, "file")
    assert config.own_address == "[fd00::2]:8082"
    assert host_and_port(config.own_address) == ("fd00::2", 8082)
    assert config.keeps
    assert not parse(CLUSTER.replace('[fd00::2]:8082",', 'c:8082",'), "file").keeps
    alone = parse("", "file")
    assert (alone.own_address, alone.keeps) == ("", True)


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "atoll.toml"
    file.write_text("port = 1000\nworkers = 3\n")
    config = load(str(file), port=2000, workers=None)
    assert (config.port, config.workers) == (2000, 3)
    with pytest.raises(ConfigError, match=r"^command line: port is 99999"):
        load(str(file), port=99999)


def test_paths_start_at_the_files_directory(tmp_path: Path) -> None:
    file = tmp_path / "atoll.toml"
    file.write_text('data = "d"\ndevice_paths = ["a", "/b"]\n')
    config = load(str(file))
    assert config.data == str(tmp_path / "d")
    assert config.device_paths == [str(tmp_path / "a"), "/b"]
    assert absolute(parse("", "x"), "/here").data == "/here/atoll-data"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load(str(tmp_path / "nowhere.toml"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml"):
        load(str(binary))


@pytest.mark.parametrize(
    ("listen", "endpoint"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("store.example.org", "http://store.example.org:80"),
    ],
)
def test_the_endpoint_is_one_that_a_client_here_can_use(listen: str, endpoint: str) -> None:
    assert parse(f'listen = "{listen}"\nport = 80', "file").endpoint == endpoint


@pytest.mark.parametrize(
    "wrong", ["[]", '["ring", "ring"]', '["ring=/here"]', '["a", "a=/b"]', '["=/b"]', '["a@b"]']
)
def test_volume_backends_have_names_of_their_own(wrong: str) -> None:
    with pytest.raises(ConfigError, match="volume_backends"):
        parse(f"volume_backends = {wrong}", "file")


def test_folders_of_volume_backends_start_at_the_file() -> None:
    config = parse('volume_backends = ["ring", "fast", "disk=files", "far=/srv/files"]', "file")
    found = absolute(config, "/etc/atoll").volume_backends
    assert found == ["ring", "fast", "disk=/etc/atoll/files", "far=/srv/files"]
