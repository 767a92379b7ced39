"""Sections with a name, [site-rule PATTERN] and [mount /path], and the sections of the site."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from proxyapp import config
from proxyapp.config import Auth, Autoconfig, Config, ConfigError, Mount, SiteRuleSection
from proxyapp.rules.symlinks import Symlinks


def load(folder: Path, text: str, overrides: Iterable[str] = ()) -> Config:
    """Load an ini with *text* in *folder*."""
    file = folder / "proxyapp.ini"
    file.write_text(text, encoding="utf-8")
    return config.load(file, overrides, {})


def mistakes(folder: Path, text: str, overrides: Iterable[str] = ()) -> list[str]:
    """Return the mistakes in an ini with *text*, without the name of its folder."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, overrides)
    return [mistake.removeprefix(f"{folder}/proxyapp.ini") for mistake in caught.value.mistakes]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[mount]", ":1: [mount]: there is no name behind mount; [mount /path] would be right"),
        ("[site-rule ]", ":1: [site-rule]: there is no name behind site-rule; [site-rule PATTERN]"),
        ("[mounts /a]", ":1: [mounts /a]: unknown section; [mount /a] would be right"),
        ("[Mount /a]", ":1: [Mount /a]: unknown section; [mount /a] would be right"),
        ("[mnt]", ":1: [mnt]: unknown section; [mount /path] would be right"),
        (
            "[siterule *.js]",
            ":1: [siterule *.js]: unknown section; [site-rule *.js] would be right",
        ),
        ("[pool /a]", ":1: [pool /a]: unknown section; [pool] would be right"),
        ("[zzz]", "log, cache-rule NAME, site-rule PATTERN, mount /path, rule NAME"),
        ("[mount a]", ":1: [mount a]: 'a' is not absolute; '/a' would be right"),
        ("[mount /a/]", ":1: [mount /a/]: '/a/' is not in its shortest form; /a would be right"),
        ("[mount /setup]", ":1: [mount /setup]: /setup belongs to [autoconfig]"),
        ("[site-rule /a**]", ":1: [site-rule /a**]: '/a**' is no pattern: "),
        ("[mount /a]\nrot = .", ":2: [mount /a] rot: unknown option; root would be right"),
        ("[mount /a]\nheaders = X: y", ":2: [mount /a] headers: unknown option; it belongs to"),
        ("[site]\ncache_control = a", "it belongs to [site-rule PATTERN]"),
        ("[mount /a]\nroot = nowhere", ":2: [mount /a] root: "),
        ("[mount /a]\nlog = yes\nlog = no", ":3: [mount /a] log: is there twice, first at"),
        (
            "[mount /a]\nroot = .\n[mount  /a]\n",
            ":3: [mount /a]: is there twice; put its options under the one in line 1",
        ),
        ("[mount /a]\nresource = x", ":2: [mount /a] resource: 'x' is no class"),
        ("[site-rule *]\nheaders = Date: x", ":2: [site-rule *] headers: Date is a field that"),
        ("[site-rule *]\ncache_control = x y", ":2: [site-rule *] cache_control: 'x y' is no"),
    ],
)
def test_one_mistake(tmp_path: Path, text: str, expected: str) -> None:
    """Each says where it is, what is wrong, and what would be right."""
    found = mistakes(tmp_path, text)
    assert expected in found[0]
    assert len({mistake.partition(": ")[0] for mistake in found}) == 1


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """A wrong heading doesn't hide what is wrong below it."""
    text = "[mount a]\nroot = nowhere\n[site-rule /**x]\nheaders = Date: x\n[mount /b]\nzzz = 1\n"
    places = [mistake.partition(": ")[0] for mistake in mistakes(tmp_path, text)]
    assert places == [f":{line}" for line in (1, 2, 3, 4, 6)]


MOUNT = "[mount /a]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MOUNT, ":1: [mount /a]: mounts nothing; root = DIR, resource = module:Class or log = yes"),
        (MOUNT + "log = no\nroot =\n", ":1: [mount /a]: mounts nothing"),
        (
            MOUNT + "root = .\nresource = twisted.web.demo:Test\n",
            ":3: [mount /a] resource: root is there too; one of them would be right",
        ),
        (
            MOUNT + "log = yes\nroot = .\n[log]\nrequests = access.log\n",
            ":2: [mount /a] log: root is there too; one of them would be right",
        ),
        (MOUNT + "log = yes\n", ":2: [mount /a] log: the request log is no file; [log] requests"),
        (MOUNT + "log = yes\n[log]\nrequests =\n", ":2: [mount /a] log: the request log is no"),
        (
            "[site-rule *]\nheaders = cache-control: no-store\ncache_control = public\n",
            ":2: [site-rule *] headers: cache_control is there too; one of them would be right",
        ),
        (
            "[site]\nroot = .\nupload = yes\n",
            ":3: [site] upload: nobody has a password to upload with; name [auth] users, or say",
        ),
        (
            "[auth]\nusers = memory:a:b\n[site]\nupload = yes\n",
            ":4: [site] upload: there is no folder to upload to; name [site] root, or say no",
        ),
    ],
)
def test_contradictions(tmp_path: Path, text: str, expected: str) -> None:
    """Right values can be wrong together, and are told where one of them stands."""
    (mistake,) = mistakes(tmp_path, text)
    assert mistake.startswith(expected)


@pytest.mark.parametrize(
    "name", ["mount /a.root", "mount /x.tar.gz.root", "site-rule *.js.headers"]
)
def test_named_sections_are_not_set_by_the_command(tmp_path: Path, name: str) -> None:
    """A path has dots of its own: nobody could tell where the option begins."""
    (mistake,) = mistakes(tmp_path, "", [f"{name}=x"])
    assert mistake.endswith("named sections are not set by the command; write them into the ini")


def test_overrides_of_the_site(tmp_path: Path) -> None:
    """The options of sections without a name are set as ever."""
    given = load(tmp_path, "", ["site.hidden=yes", "auth.realm=lab", "autoconfig.enabled=no"])
    assert (given.site.hidden, given.auth.realm, given.autoconfig.enabled) == (True, "lab", False)


def test_defaults() -> None:
    """Without an ini the site is open to readers, and nothing is mounted, added or asked for."""
    given = config.load(None, (), {})
    assert (given.site_rules, given.mounts) == ((), ())
    site = given.site
    assert (site.listings, site.hidden, site.upload) == (True, False, False)
    assert site.precompressed == ("br", "zst", "gzip")
    assert site.symlinks is Symlinks.INSIDE
    assert (site.headers, site.upload_limit) == ((), 10 * 1024**3)
    assert given.autoconfig == Autoconfig(enabled=True, direct=(), proxy=())
    assert given.auth == Auth(realm="proxyapp", users="")


def test_named_sections(tmp_path: Path) -> None:
    """They come in the order of the file, each with the defaults of what it doesn't say."""
    given = load(
        tmp_path,
        "[site-rule *.js]\ncache_control = no-cache\n[mount /b c]\nroot = .\n"
        "[site-rule /a/**]\nheaders = X-A: b\n  X-C: d\n[log]\nrequests = a.log\n"
        "[mount /a]\nlog = yes\n[mount /a/d]\nresource = twisted.web.demo:Test\n",
    )
    assert given.site_rules == (
        SiteRuleSection("*.js", (), b"no-cache"),
        SiteRuleSection("/a/**", ((b"X-A", b"b"), (b"X-C", b"d")), b""),
    )
    assert given.mounts == (
        Mount("/b c", tmp_path, "", False),
        Mount("/a", None, "", True),
        Mount("/a/d", None, "twisted.web.demo:Test", False),
    )


def test_the_site(tmp_path: Path) -> None:
    """What the file says counts."""
    (tmp_path / "htpasswd").write_text("ann:x\n")
    given = load(
        tmp_path,
        "[site]\nroot = .\nlistings = no\nprecompressed =\nsymlinks =\nhidden = yes\n"
        "headers =\n  X-A: b\nupload = yes\nupload_limit = 0\n"
        "[autoconfig]\ndirect = .lan, 10.9.0.0/16\nproxy = gate.lan:3128\n"
        "[auth]\nrealm = lab\nusers = file:htpasswd\n",
    )
    site = given.site
    assert (site.listings, site.precompressed, site.symlinks) == (False, (), Symlinks.NONE)
    assert (site.headers, site.upload, site.upload_limit) == (((b"X-A", b"b"),), True, 0)
    assert given.autoconfig == Autoconfig(True, (".lan", "10.9.0.0/16"), ("gate.lan:3128",))
    assert given.auth == Auth("lab", f"file:{tmp_path}/htpasswd")


@pytest.mark.parametrize(
    "users", ["memory:ann:hunter2:x", "memory:ann ;hunter2:x:y", "ann;hunter2"]
)
def test_secrets_are_not_told(tmp_path: Path, users: str) -> None:
    """Neither a mistake nor a repr has what may be a password, not even as a hint."""
    (mistake,) = mistakes(tmp_path, f"[auth]\nusers = {users}\n")
    assert mistake.startswith(":2: [auth] users: ")
    assert "hunter2" not in mistake
    assert "hunter2" not in repr(load(tmp_path, "[auth]\nusers = memory:ann:hunter2\n"))
