"""The part of the table of options that is about the site, and about who may do more there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proxyapp.config import lists, sitevalues, values
from proxyapp.config.listeners import listeners
from proxyapp.config.option import heading, option
from proxyapp.config.users import schemes, users
from proxyapp.config.values import GIB
from proxyapp.rules.challenges import Scheme
from proxyapp.rules.symlinks import Symlinks


@dataclass(frozen=True, slots=True)
class Site:
    """The static site; without a *root* it shows the setup page. *upload_limit* is in bytes."""

    listen: tuple[str, ...] = option(
        listeners,
        "tcp:8080",
        "Where the site listens: Twisted endpoints, one a line; empty turns it off.",
    )
    root: Path | None = option(
        values.folder_or_none,
        "htdocs",
        "Folder of the files to serve; by default htdocs beside this file if it exists,"
        " else a page about how to use the proxy is shown.",
        found=values.default_root,
    )
    index: tuple[str, ...] = option(
        lists.file_names, "index.html", "Files that answer for their folder, the first found wins."
    )
    listings: bool = option(
        values.boolean, "yes", "Show what is in a folder that has none of these files."
    )
    precompressed: tuple[str, ...] = option(
        lists.content_codings,
        "br, zst, gzip",
        "Compressed siblings (NAME.br, NAME.zst, NAME.gz) to send to clients that accept them,"
        " the preferred one first.",
    )
    symlinks: Symlinks = option(
        values.choice(Symlinks, "none"),
        "inside",
        "Symbolic links that are followed: inside (those that stay below root), all, or none.",
    )
    hidden: bool = option(
        values.boolean, "no", "Serve files and folders whose names begin with a dot."
    )
    headers: tuple[tuple[bytes, bytes], ...] = option(
        sitevalues.response_fields,
        "",
        "Further fields of files and folder pages, as Name: value, one a line.",
    )
    upload: bool = option(
        values.boolean,
        "no",
        "Let users with a password (see [auth]) store files with PUT and PATCH.",
    )
    upload_limit: int = option(
        values.size(0, 1024 * 1024 * GIB),
        "10GiB",
        "Longest file that may be uploaded; 0 is unlimited.",
    )


@dataclass(frozen=True, slots=True)
class SiteRuleSection:
    """What is added to the responses for the paths that match *pattern*."""

    pattern: str = heading(sitevalues.path_pattern, "PATTERN")
    headers: tuple[tuple[bytes, bytes], ...] = option(
        sitevalues.rule_fields,
        "",
        "Further fields where the path matches, as Name: value, one a line; Content-Type replaces"
        " the one known by the name's suffix.",
        example="X-Robots-Tag: noindex",
    )
    cache_control: bytes = option(
        sitevalues.cache_control,
        "",
        "Cache-Control of responses whose path matches.",
        example="public, max-age=86400",
    )


@dataclass(frozen=True, slots=True)
class Mount:
    """Another thing below *path*: exactly one of *root*, *resource* and *log* is given."""

    path: str = heading(sitevalues.mount_path, "/path")
    root: Path | None = option(
        values.folder_or_none,
        "",
        "Folder of the files to serve below the path.",
        example="/srv/files",
    )
    resource: str = option(
        sitevalues.resource_name,
        "",
        "Class of a twisted.web resource, as module:Class, that answers below the path.",
        example="twisted.web.demo:Test",
    )
    log: bool = option(
        values.boolean,
        "no",
        "Show the request log at the path, read-only; it has to be a file.",
        example="yes",
    )


@dataclass(frozen=True, slots=True)
class Autoconfig:
    """Automatic proxy settings; no *proxy* stands for the name the client asked by.

    *direct* holds names, domains that begin with a dot, and networks, as text.
    """

    enabled: bool = option(
        values.boolean, "yes", "Answer /wpad.dat, /proxy.pac and /setup on the site and the proxy."
    )
    direct: tuple[str, ...] = option(
        lists.direct_hosts,
        "",
        "What devices reach without the proxy beside private hosts (names without a dot, networks"
        " that are never on the internet): names, .domains, networks.",
    )
    proxy: tuple[str, ...] = option(
        lists.gateways,
        "",
        "Proxies that devices are told to use, as host:port in the order to try; empty is the"
        " name they asked by.",
    )
    weights: tuple[int, ...] = option(lists.gateway_weights, "", "", name="proxy")
    share: bool = option(
        values.boolean,
        "no",
        "Spread hosts over these proxies, as many as its weight says to each (host:port*2 has twice"
        " as many as others); the other proxies stand in for one that is gone.",
    )


@dataclass(frozen=True, slots=True)
class Auth:
    """Who has a password, and who is asked for it: nobody where there are no *users*."""

    realm: str = option(
        sitevalues.realm, "proxyapp", "Name of what the password is for, as browsers show it."
    )
    users: str = option(
        users,
        "",
        "Where users and passwords are: file:PATH (name:password lines, plain or as htpasswd or"
        " htdigest hash them) or another strcred description of Twisted, such as unix; empty is"
        " none.",
        is_secret=True,
    )
    required: bool = option(
        values.boolean,
        "yes",
        "Ask everybody who uses the proxy or its tunnels for a password, if there are users; with"
        " no, only those whom a rule with users may let in.",
    )
    schemes: tuple[Scheme, ...] = option(
        schemes,
        "basic, digest",
        "Ways to ask for it: basic, and digest, which is offered where the file holds every"
        " password plain or as htdigest hashes it for this realm.",
    )
