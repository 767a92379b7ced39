"""What docs/tls-upgrade.md says is what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxyapp.config import OPTIONS, load
from proxyapp.config.judge import make_spellings
from proxyapp.net import tls
from proxyapp.wire.headers import NO_FIELDS, Fields
from proxyapp.wire.target import parse_target
from tests.test_readme import blocks, doc

TEXT = doc("tls-upgrade.md")
MEANT = b"https://api.example/reading"
SPELLED = re.findall(r"^\| (\w+) \| `GET (\S+)`", TEXT, re.MULTILINE)


def test_the_ini(tmp_path: Path) -> None:
    """The example is a right ini, and every option that is named exists."""
    (tmp_path / "x.ini").write_text(*blocks(TEXT, "ini"))
    config = load(tmp_path / "x.ini", [], {})
    assert config.proxy.tls_upgrade_hosts is not None
    named = set(re.findall(r"\btls_[a-z_]+\b", TEXT)) - {"tls_certificate_error"}
    assert named - {"tls_protocol_error"} <= set(OPTIONS["proxy"])


@pytest.mark.parametrize(("name", "url"), SPELLED)
def test_spellings(tmp_path: Path, name: str, url: str) -> None:
    """Each row of the table means the same URL, with the example as ini."""
    (tmp_path / "x.ini").write_text(*blocks(TEXT, "ini"))
    spellings = make_spellings(load(tmp_path / "x.ini", [], {}))
    fields = Fields([(b"X-Real-Protocol", b"https")]) if name == "field" else NO_FIELDS
    assert spellings.canonical(parse_target(b"GET", url.encode()), fields).url == MEANT


def test_there_are_four() -> None:
    """No row is left out."""
    assert [name for name, _ in SPELLED] == ["URL", "prefix", "field", "listed"]


def test_sentences_of_failed_checks() -> None:
    """The sentences in the table are those of the answers."""
    rows = re.findall(r"^\| (its? .+?) \|", TEXT, re.MULTILINE)
    told = {sentence for row in rows for sentence in row.removesuffix(", ...").split(", ")}
    known = {*vars(tls)["_WHY"].values(), *vars(tls)["_WHY_ABOVE"].values()}
    assert told <= known | {"it is for another name"}
    assert len(told) > 10
