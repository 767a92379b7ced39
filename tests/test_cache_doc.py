"""What docs/cache.md says of options, rules and presets is so."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from proxyapp import config
from proxyapp.cache.serving import Why
from proxyapp.config import FAMILIES, OPTIONS, cachevalues
from proxyapp.config.cacherules import make_cache_rules
from proxyapp.config.values import Surroundings
from proxyapp.rules.caching.presets import PRESETS
from proxyapp.rules.caching.rules import CacheRule, CacheRules, OnRange
from proxyapp.rules.caching.urlpatterns import parse_pattern
from proxyapp.rules.logformat import compile_format
from proxyapp.rules.record import Record
from tests.test_readme import blocks, doc, rows

TEXT = doc("cache.md")
NOWHERE = Surroundings(None, {})
CODE = re.compile(r"`([^`]+)`")


def section(heading: str) -> str:
    """Return what stands below *heading*, up to the next one of any level."""
    return re.split(r"^#+ ", TEXT.partition(f"\n{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """Return what the first cells of the tables in *text* show as code."""
    return [code for row in rows(text) for code in CODE.findall(row[0])]


def load(folder: Path, text: str) -> CacheRules:
    """Return the rules of an ini with *text*."""
    file = folder / "proxyapp.ini"
    file.write_text(text, encoding="utf-8")
    return make_cache_rules(config.load(file, (), {}))


def unnamed(rule: CacheRule) -> CacheRule:
    """Return *rule* as it is on its own, apart from what [cache] gives to all."""
    return replace(rule, policy=replace(rule.policy, stale_if_error=0.0))


@pytest.mark.parametrize("text", blocks(TEXT, "ini"))
def test_every_example_loads(tmp_path: Path, text: str) -> None:
    """What is shown can be copied."""
    load(tmp_path, text)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_as_shown(tmp_path: Path, name: str) -> None:
    """The sections below a preset's heading are the preset."""
    (text,) = blocks(section(f"### {name}"), "ini")
    shown = load(tmp_path, text).rules
    assert tuple(map(unnamed, shown)) == tuple(map(unnamed, PRESETS[name]))


def test_options_are_all_there() -> None:
    """The table of options is that of the ini, and each option of a rule has its heading."""
    assert first_cells(section("## Options")) == list(OPTIONS["cache"])
    headings = re.findall(r"^### (\w+)$", TEXT.partition("\n## Presets\n")[0], re.MULTILINE)
    own = [option.name for option in FAMILIES["cache-rule"].options.values() if option.sentence]
    assert headings == own


@pytest.mark.parametrize("entry", first_cells(section("### match")))
def test_patterns_are_read(entry: str) -> None:
    """Every pattern in the table is one."""
    assert str(parse_pattern(entry)) == entry


def test_words_are_read() -> None:
    """Lifetimes, keys and what is done on ranges are written as the tables have them."""
    for word in first_cells(section("### ttl")):
        cachevalues.lifetime(word, NOWHERE)
    for word in first_cells(section("### key")):
        cachevalues.key(word, NOWHERE)
    assert set(first_cells(section("### range"))) == set(OnRange)
    for word in CODE.findall(section("### ignore").partition(".")[0]):
        assert cachevalues.ignored(word, NOWHERE)


def test_words_of_other_caches() -> None:
    """What is given for the words of others can be written so."""
    for _, ours in rows(section("### From other caches")):
        for code in CODE.findall(ours):
            option, equals, value = code.partition(" = ")
            if equals:
                assert option in {"match", "ttl", "key", "range", "ignore", "rules"}
                parse = {"match": cachevalues.match, "ttl": cachevalues.lifetime}.get(option)
                assert parse is None or parse(value, NOWHERE)


def test_results_in_the_log() -> None:
    """The table of results has all of them, and says what the squid format makes of each."""
    table = doc("log-formats.md").partition("\n## What the cache did\n")[2]
    shown = [row for row in rows(table) if row[0].startswith("`")]
    assert sorted(row[0].strip("`") for row in shown) == sorted(Why)
    for result, _, code in shown:
        record = Record(service="proxy", cache=result.strip("`"), status=200)
        assert f" {code.strip('`')}/200 " in compile_format("squid")(record)
