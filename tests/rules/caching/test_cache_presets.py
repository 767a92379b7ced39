"""What becomes of the URLs that package managers ask for, under each preset."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from proxyapp.rules.caching import freshness, reuse, storing
from proxyapp.rules.caching.keys import key
from proxyapp.rules.caching.presets import PRESETS
from proxyapp.rules.caching.reuse import Use
from proxyapp.rules.caching.rules import CacheRule, CacheRules, OnRange
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead, ResponseHead
from proxyapp.wire.target import parse_target

ALL = CacheRules([rule for rules in PRESETS.values() for rule in rules], CacheRule())
YEAR = 365 * 86400.0
SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class Fate(NamedTuple):
    """The rule of a URL, and how long what the origin calls good for an hour is fresh."""

    rule: str
    fresh: float


LASTING = {name: Fate(name, YEAR) for name in ("apt", "pypi", "npm", "windows-update", "steam")}
LISTS = {name: Fate(name, 300.0) for name in ("pypi-indexes", "npm-indexes")}
LISTS |= {name: Fate(name, 0.0) for name in ("apt-indexes", "docker-blobs", "docker-manifests")}
NONE = Fate("", 3600.0)


def rule_of(url: str) -> CacheRule:
    """Return the rule for *url*, with all presets in use."""
    target = parse_target(b"GET", url.encode())
    assert target.origin is not None
    return ALL.find(target.origin, target.path)


def request(url: str, *fields: tuple[bytes, bytes]) -> RequestHead:
    """Return the head of a GET of *url*."""
    return RequestHead(b"GET", url.encode(), 1, Fields(list(fields)))


def response(status: int = 200, control: bytes = b"max-age=3600") -> ResponseHead:
    """Return the head of a response with a validator."""
    fields = [(b"Cache-Control", control), (b"ETag", b'"1"'), (b"Content-Length", b"9")]
    return ResponseHead(status, b"OK", 1, Fields(fields))


def freshness_of(url: str, status: int = 200) -> float:
    """Return for how many seconds a response from *url* is fresh."""
    policy = rule_of(url).policy
    asked, arrived = request(url), response(status)
    assert storing.refusal(asked, arrived, policy) == ""
    return freshness.lifetime(storing.stored(asked, arrived, policy, 1e9, 1e9), policy)


@pytest.mark.parametrize(
    ("url", "fate"),
    [
        # Not by name or content, whatever their suffix.
        ("http://example.org/download/tool_current_amd64.deb", NONE),
        ("http://dl.example/linux/direct/browser-stable_current_amd64.deb", NONE),
        ("http://example.org/carpool/a.deb", NONE),
        ("http://example.org/dist/mine-0.0.1-py3-none-any.whl", NONE),
        ("http://example.org/a/-/a-1.0.0.tgz", NONE),
        ("http://example.org/depot/1/chunk/2", NONE),
        ("http://example.org/v2/blobs", NONE),
        ("https://pypi.org/project/twisted/", NONE),
        ("http://steamcontent.com.example.org/depot/1", NONE),
        ("http://steamcdn.example.akamaihd.net/depot/1", NONE),
        # apt
        (
            "http://deb.debian.org/debian/pool/main/c/curl/curl_8.5.0-2%2bdeb12u1_amd64.deb",
            LASTING["apt"],
        ),
        ("http://archive.ubuntu.com/ubuntu/pool/main/b/bash/bash_5.2.orig.tar.xz", LASTING["apt"]),
        ("http://apt.example/pool/stable/t/tool/tool_1.0_arm64.deb", LASTING["apt"]),
        ("http://ddebs.example/pool/main/b/bash/bash-dbgsym_5_amd64.ddeb", LASTING["apt"]),
        (
            f"http://deb.debian.org/debian/dists/trixie/main/binary-amd64/by-hash/SHA256/{SHA}",
            LASTING["apt"],
        ),
        ("http://deb.debian.org/debian/dists/trixie/InRelease", LISTS["apt-indexes"]),
        (
            "http://deb.debian.org/debian/dists/sid/main/binary-amd64/Packages.xz",
            LISTS["apt-indexes"],
        ),
        (
            "http://security.ubuntu.com/ubuntu/dists/noble-security/Release.gpg",
            LISTS["apt-indexes"],
        ),
        ("http://cuda.example/repos/debian12/x86_64/Packages.gz", LISTS["apt-indexes"]),
        ("http://flat.example/InRelease", LISTS["apt-indexes"]),
        # pypi
        (
            "https://files.pythonhosted.org/packages/d2/39/c0fb/tw-26.10-py3-none-any.whl",
            LASTING["pypi"],
        ),
        (
            "https://files.pythonhosted.org/packages/d2/39/c0fb/tw-26.10-py3-none-any.whl.metadata",
            LASTING["pypi"],
        ),
        ("https://files.pythonhosted.org/packages/a1/b2/c3d4/tw-26.10.0.tar.gz", LASTING["pypi"]),
        (
            "https://download.pytorch.org/whl/cpu/torch-2.9.0%2Bcpu-cp311-linux_x86_64.whl",
            LASTING["pypi"],
        ),
        ("https://download.pytorch.org/whl/cpu/torch/", LISTS["pypi-indexes"]),
        ("https://pypi.org/simple/twisted/", LISTS["pypi-indexes"]),
        ("https://pypi.org/simple/", LISTS["pypi-indexes"]),
        ("https://pypi.org/pypi/twisted/json", LISTS["pypi-indexes"]),
        # npm
        ("https://registry.npmjs.org/react/-/react-19.1.0.tgz", LASTING["npm"]),
        ("https://registry.yarnpkg.com/@types/node/-/node-24.0.0.tgz", LASTING["npm"]),
        ("https://registry.npmjs.org/react", LISTS["npm-indexes"]),
        ("https://registry.npmjs.org/@types%2fnode", LISTS["npm-indexes"]),
        # windows-update
        (
            "http://7.tlu.dl.delivery.mp.microsoft.com/filestreamingservice/files/1a2b?P1=1&P4=c2ln",
            LASTING["windows-update"],
        ),
        (
            "http://au.download.windowsupdate.com/c/msdownload/update/software/secu/2026/01/kb5.cab",
            LASTING["windows-update"],
        ),
        (
            "http://officecdn.microsoft.com/pr/492350f6/Office/Data/16.0.1/stream.x64.dat",
            LASTING["windows-update"],
        ),
        ("http://officecdn.microsoft.com/pr/492350f6/Office/Data/v64.cab", NONE),
        (
            "http://ctldl.windowsupdate.com/msdownload/update/v3/static/trustedr/en/authrootstl.cab",
            NONE,
        ),
        # steam
        (
            f"http://cache4-fra1.steamcontent.com/depot/228990/chunk/{SHA[:40]}?l=14&e=9&sid=1&h=2",
            LASTING["steam"],
        ),
        (
            "http://steampipe.akamaized.net/depot/228990/manifest/1829726630299308803/5/123",
            LASTING["steam"],
        ),
        ("http://cdn.akamai.steamstatic.com/steam/apps/570/header.jpg", NONE),
        # docker
        (f"http://registry.lan:5000/v2/team/app/blobs/sha256:{SHA}", LISTS["docker-blobs"]),
        (
            f"https://production.cloudflare.docker.com/registry-v2/docker/registry/v2/blobs/sha256"
            f"/9f/{SHA}/data?expires=1&signature=a",
            LISTS["docker-blobs"],
        ),
        (
            f"https://cdn01.quay.io/quayio-production-s3/sha256/9f/{SHA}?X-Amz-Signature=a",
            LISTS["docker-blobs"],
        ),
        (
            f"https://pkg-containers.githubusercontent.com/ghcr1/blobs/sha256:{SHA}?se=1&sig=a",
            LISTS["docker-blobs"],
        ),
        (
            f"https://k8s.s3.us-east-2.amazonaws.com/containers/images/sha256:{SHA}",
            LISTS["docker-blobs"],
        ),
        ("http://registry.lan:5000/v2/team/app/manifests/latest", LISTS["docker-manifests"]),
        (
            f"http://registry.lan:5000/v2/team/app/manifests/sha256:{SHA}",
            LISTS["docker-manifests"],
        ),
    ],
)
def test_fate_of_urls(url: str, fate: Fate) -> None:
    """What is named by its content lasts, what lists it doesn't, and the rest is the origin's."""
    assert Fate(rule_of(url).name, freshness_of(url)) == fate


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (
            "http://cache1-fra1.steamcontent.com/depot/1/chunk/2?h=a",
            "http://steampipe.akamaized.net/depot/1/chunk/2?h=b",
            "http://+steam/depot/1/chunk/2",
        ),
        (
            "http://2.tlu.dl.delivery.mp.microsoft.com/filestreamingservice/files/1a?P1=1",
            "http://9.tlu.dl.delivery.mp.microsoft.com/filestreamingservice/files/1a?P1=2",
            "http://+windows-update/filestreamingservice/files/1a",
        ),
        (
            "https://registry.npmjs.org/a/-/a-1.tgz",
            "https://registry.yarnpkg.com/a/-/a-1.tgz",
            "https://+npm/a/-/a-1.tgz",
        ),
        (
            f"https://cdn01.quay.io/s3/sha256/9f/{SHA}?sig=a",
            f"https://cdn01.quay.io/s3/sha256/9f/{SHA}?sig=b",
            f"https://cdn01.quay.io/s3/sha256/9f/{SHA}",
        ),
    ],
)
def test_joined_urls(one: str, other: str, expected: str) -> None:
    """Mirrors of the same content, and links that only differ in how long they last, are one."""
    for url in (one, other):
        target = parse_target(b"GET", url.encode())
        assert target.origin is not None
        assert key(target.origin, target.path, rule_of(url)).decode() == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://deb.debian.org/debian/pool/a.deb", "http://mirror.example/debian/pool/a.deb"),
        ("http://a.steamcontent.com/depot/1", "https://a.steamcontent.com/depot/1"),
        ("https://registry.npmjs.org/react", "https://registry.yarnpkg.com/react"),
        ("http://lan/v2/a/manifests/latest?ns=one", "http://lan/v2/a/manifests/latest?ns=two"),
        ("http://one.lan/v2/a/blobs/sha256:1", "http://two.lan/v2/a/blobs/sha256:1"),
    ],
)
def test_what_is_not_joined(one: str, other: str) -> None:
    """Hosts that nobody named may hold anything under the same path."""
    keys = []
    for url in (one, other):
        target = parse_target(b"GET", url.encode())
        assert target.origin is not None
        keys.append(key(target.origin, target.path, rule_of(url)))
    assert keys[0] != keys[1]


@pytest.mark.parametrize("rule", ALL.rules, ids=lambda rule: rule.name)
def test_joined_hosts_are_named(rule: CacheRule) -> None:
    """Whoever can have a URL of their own fetched must not speak for those hosts."""
    if rule.key.host:
        assert all(pattern.host.strip("*.").count(".") >= 1 for pattern in rule.match)


def test_what_is_filled() -> None:
    """Packages are fetched whole; of what is large and wanted in parts, parts are stored."""
    filled = {rule.name for rule in ALL.rules if rule.range is OnRange.FILL}
    assert filled == {"apt", "pypi", "npm"}


def test_failures_don_t_last() -> None:
    """A package that isn't there yet is soon asked for again, redirections are the origin's."""
    url = "http://deb.debian.org/debian/pool/main/a/a_1_all.deb"
    assert freshness_of(url, 404) <= 300.0
    assert freshness_of(url, 302) == 3600.0


# --- Who may have an image ---

BLOB = f"http://registry.lan:5000/v2/team/app/blobs/sha256:{SHA}"
CREDENTIALS = (b"Authorization", b"Bearer x")


def test_images_are_stored_though_a_password_was_needed() -> None:
    """A layer that was fetched with credentials is kept; private ones nevertheless aren't."""
    policy = rule_of(BLOB).policy
    asked = request(BLOB, CREDENTIALS)
    assert storing.refusal(asked, response(), policy) == ""
    assert storing.refusal(asked, response(), CacheRule().policy) != ""
    assert storing.refusal(asked, response(control=b"private"), policy) == "private"
    assert storing.refusal(asked, response(control=b"no-store"), policy) == "no-store"


@pytest.mark.parametrize("wishes", [b"", b"max-stale", b"max-stale=9, only-if-cached"])
@pytest.mark.parametrize(
    "control",
    [
        b"max-age=31536000, immutable",
        b"max-age=60, stale-while-revalidate=600",
        b"max-age=60, stale-if-error=600",
        b"public, s-maxage=600",
    ],
)
def test_registry_is_asked_for_each_client(wishes: bytes, control: bytes) -> None:
    """Nobody gets an image without the registry's word, not even stale while it is down."""
    rule = rule_of(BLOB)
    kept = storing.stored(
        request(BLOB, CREDENTIALS), response(control=control), rule.policy, 1e9, 1e9
    )
    asked = request(BLOB, (b"Cache-Control", wishes)) if wishes else request(BLOB)
    for now in (1e9, 1e9 + 61, 1e9 + 4000):
        assert reuse.judge(asked, kept, rule.policy, now) is Use.VALIDATE
        assert not reuse.may_be_stale(asked, kept, rule.policy, now)
    assert rule.is_judged_by_origin
