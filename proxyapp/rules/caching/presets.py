"""Ready cache rules, each set of them one word in the ini.

What is named by its version or its hash never changes, and is kept for long. What lists it does,
and is asked for anew. What many hosts have in common is stored once.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxyapp.rules.caching.globs import Globs
from proxyapp.rules.caching.keys import PLAIN, KeyRule
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.rules import CacheRule, OnRange
from proxyapp.rules.caching.urlpatterns import parse_pattern

_MINUTE = 60.0
_DAY = 86400.0
_LONG = 365 * _DAY
_EVERY_NAME = Globs((b"*",))
_NO_QUERY = KeyRule(strip=_EVERY_NAME)


def _rule(
    name: str,
    patterns: str,
    policy: Policy,
    on_range: OnRange = OnRange.STORE,
    key: KeyRule = PLAIN,
) -> CacheRule:
    return CacheRule(name, tuple(map(parse_pattern, patterns.split())), policy, key, on_range)


_LASTING = Policy(ttl=_LONG)
_VALIDATED = Policy(ttl=0.0)

# A file below pool/ has its version in its name, one below by-hash/ is named by its content. The
# same name elsewhere (..._current_amd64.deb) says nothing. Indexes are signed by InRelease: one
# that is older or newer than it is refused by apt, so each is asked for; mostly that is one 304.
_APT = (
    _rule(
        "apt",
        "/**/pool/*.deb /**/pool/*.udeb /**/pool/*.ddeb /**/pool/*.dsc /**/pool/*.tar.gz"
        " /**/pool/*.tar.bz2 /**/pool/*.tar.xz /**/pool/*.tar.zst /**/pool/*.diff.gz"
        " /**/by-hash/MD5Sum/* /**/by-hash/SHA1/* /**/by-hash/SHA256/* /**/by-hash/SHA512/*",
        _LASTING,
        OnRange.FILL,
    ),
    _rule(
        "apt-indexes",
        "/**/dists/* /**/InRelease /**/Release /**/Release.gpg /**/Packages /**/Packages.gz"
        " /**/Packages.bz2 /**/Packages.xz /**/Packages.zst /**/Sources /**/Sources.gz"
        " /**/Sources.bz2 /**/Sources.xz /**/Sources.zst",
        _VALIDATED,
    ),
)

# The path of a file has the hash of its content in it. Indexes are asked for under several types,
# which Vary tells apart.
_PYPI = (
    _rule(
        "pypi",
        ".pythonhosted.org/packages/* download.pytorch.org/whl/*.whl",
        _LASTING,
        OnRange.FILL,
    ),
    _rule(
        "pypi-indexes",
        "pypi.org/simple/* pypi.org/pypi/*/json test.pypi.org/simple/* pypi.python.org/simple/*"
        " download.pytorch.org/whl/*",
        Policy(ttl_most=5 * _MINUTE),
    ),
)

# A version can't be published twice. Both hosts are the same registry.
_NPM = (
    _rule(
        "npm",
        "registry.npmjs.org/*/-/*.tgz registry.yarnpkg.com/*/-/*.tgz",
        _LASTING,
        OnRange.FILL,
        KeyRule(host="npm"),
    ),
    _rule("npm-indexes", "registry.npmjs.org registry.yarnpkg.com", Policy(ttl_most=5 * _MINUTE)),
)

# Names hold a version, or the hash of what they name; the query is only how long the link lasts.
# Ranges are asked for by each client in its own order, of files that it may not need the whole of.
_WINDOWS_UPDATE = (
    _rule(
        "windows-update",
        ".delivery.mp.microsoft.com/filestreamingservice/files/*"
        " .dsp.mp.microsoft.com/filestreamingservice/files/*"
        " .windowsupdate.com/*/msdownload/update/* .update.microsoft.com/*/msdownload/update/*"
        " officecdn.microsoft.com/*/Office/Data/16.*/*"
        " officecdn.microsoft.com/*/office/data/16.*/*",
        _LASTING,
        OnRange.STORE,
        KeyRule(host="windows-update", strip=_EVERY_NAME),
    ),
)

# A chunk is named by its hash, a manifest by its number; both are encrypted for those who have
# bought the game, so that whoever has no key has no use for them.
_STEAM = (
    _rule(
        "steam",
        " ".join(
            f"{host}/depot/*"
            for host in (
                ".steamcontent.com",
                ".content.steampowered.com",
                "content*.steampowered.com",
                ".cs.steampowered.com",
                "cdn*.valve.net",
                "steampipe*.akamaized.net",
                "steamcdn-a.akamaihd.net",
                "steam*.qtlglb.com",
                "edge.steam-dns*.top.comcast.net",
                "steam.cdn.on.net",
                "st.dl.bscstorage.net",
            )
        ),
        _LASTING,
        OnRange.STORE,
        KeyRule(host="steam", strip=_EVERY_NAME),
    ),
)

# A digest is no secret, and a layer may be one: a registry says for each client whether it may have
# it, and is asked for each. The answer is short; the layer isn't fetched again.
_JUDGED = Policy(ttl=0.0, stale_if_error=0.0, ignore=frozenset((b"authorization",)))
_DOCKER = (
    _rule(
        "docker-blobs",
        "/v2/*/blobs/sha256:* /**/blobs/sha256/*/data /*/blobs/sha256:*"
        " cdn*.quay.io/*/sha256/* .amazonaws.com/containers/images/sha256:*",
        _JUDGED,
        OnRange.STORE,
        _NO_QUERY,
    ),
    _rule("docker-manifests", "/v2/*/manifests/*", _JUDGED),
)

PRESETS: Mapping[str, tuple[CacheRule, ...]] = MappingProxyType(
    {
        "apt": _APT,
        "pypi": _PYPI,
        "npm": _NPM,
        "windows-update": _WINDOWS_UPDATE,
        "steam": _STEAM,
        "docker-blobs": _DOCKER,
    }
)
