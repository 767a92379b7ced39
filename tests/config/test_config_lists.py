"""Lists of the ini: networks, destinations, ports, name servers, file names."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.config import lists
from proxyapp.config.lists import EVERYBODY, Destinations
from proxyapp.config.values import Surroundings, WrongValue

NOWHERE = Surroundings(None, {})


def reasons(parse: Callable[[str, Surroundings], object], text: str) -> tuple[str, ...]:
    """Return what *parse* complains about."""
    with pytest.raises(WrongValue) as caught:
        parse(text, NOWHERE)
    return caught.value.reasons


@pytest.mark.parametrize("text", ["a,b,c", "a b\tc", "a\nb\nc", " a , b ,\n c, ", "a,,b;c"])
def test_words(text: str) -> None:
    """Commas, blanks and line ends separate, any number of them."""
    assert lists.words(text.replace(";", " ")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("10.0.0.1/8", "'10.0.0.1/8' has bits set beyond its prefix; 10.0.0.0/8 would be right"),
        ("10/8", "is not a network"),
        ("10.0.0.0/33", "such as 10.0.0.0/8 would be right"),
        ("256.1.1.1", "is not a network"),
        ("lan", "is not a network"),
        ("fe80::1%eth0", "the address alone would be right"),
        ("fe80::%eth0/64", "the address alone would be right"),
        ("fe80::1/10", "fe80::/10 would be right"),
        ("::1]", "is not a network"),
        ("public", "is not a network"),
    ],
)
def test_networks_refuse(text: str, complaint: str) -> None:
    """What is no network is named, with the network that was probably meant."""
    assert complaint in reasons(lists.networks, text)[0]


def test_every_wrong_network_is_named() -> None:
    """One bad entry doesn't hide the next."""
    assert len(reasons(lists.networks, "10/8, 127.0.0.0/8, lan, ::1/8")) == 3


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", []),
        ("127.0.0.0/8, ::1", ["127.0.0.0/8", "::1/128"]),
        ("10.0.0.0/255.0.0.0", ["10.0.0.0/8"]),
        ("192.168.7.1\n192.168.7.1", ["192.168.7.1/32"]),
    ],
)
def test_networks_read(text: str, networks: list[str]) -> None:
    """An address is a network of one; repetitions go."""
    assert lists.networks(text, NOWHERE) == tuple(map(ip_network, networks))


def test_star_is_everybody() -> None:
    """The star is every address of both families."""
    assert lists.networks("*", NOWHERE) == EVERYBODY


@given(st.lists(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), max_size=8))
def test_every_address_is_a_network(addresses: list[object]) -> None:
    """Whatever the library spells as an address is read as that address."""
    text = ", ".join(map(str, addresses))
    found = lists.networks(text, NOWHERE)
    assert set(found) == {ip_network(str(address)) for address in addresses}


def test_list_file(tmp_path: Path) -> None:
    """`@PATH` stands for the entries of a file; the rest of the list stays."""
    (tmp_path / "lan.txt").write_text("# ours\n10.1.0.0/16\n\n10.2.0.0/16 # lab\n")
    at = Surroundings(tmp_path / "proxyapp.ini", {})
    found = lists.networks("::1 @lan.txt", at)
    assert [str(network) for network in found] == ["::1/128", "10.1.0.0/16", "10.2.0.0/16"]
    assert lists.destinations("@lan.txt", at).networks == found[1:]


def test_mistakes_in_a_list_file_name_its_line(tmp_path: Path) -> None:
    """The message leads to the line in the list, not only to the ini."""
    file = tmp_path / "lan.txt"
    file.write_text("10.1.0.0/16\nlan\n\nwan\n")
    with pytest.raises(WrongValue) as caught:
        lists.networks(f"@{file}", NOWHERE)
    first, second = caught.value.reasons
    assert first.startswith(f"{file} line 2: 'lan' is not a network")
    assert second.startswith(f"{file} line 4: 'wan'")


def test_unreadable_list_files(tmp_path: Path) -> None:
    """A list file that is missing or not text is a mistake, not a failure."""
    at = Surroundings(tmp_path / "proxyapp.ini", {})
    (tmp_path / "latin.txt").write_bytes(b"\xe4")
    for text, complaint in [
        ("@missing", "can't be read"),
        ("@", "is no file"),
        ("@latin.txt", "not UTF-8"),
        ("@.", "'@.' is no file; @PATH of a readable file would be right"),
    ]:
        with pytest.raises(WrongValue, match=complaint):
            lists.networks(text, at)


def test_list_files_have_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too long isn't read in part, and one full of nonsense isn't quoted whole."""
    file = tmp_path / "lan.txt"
    file.write_text("lan\n" * 100)
    with pytest.raises(WrongValue) as caught:
        lists.networks(f"@{file}", NOWHERE)
    assert len(caught.value.reasons) == 21
    assert caught.value.reasons[-1] == "80 more entries are wrong"
    monkeypatch.setattr(lists, "MAX_LIST_FILE", 100)
    with pytest.raises(WrongValue, match="is larger than 0 MiB; split it"):
        lists.networks(f"@{file}", NOWHERE)


@pytest.mark.parametrize(
    ("text", "prefixes"),
    [
        ("", []),
        ("2001:db8::/32, fd00:64::/96", ["fd00:64::/96", "2001:db8::/32"]),
        ("fd00:64::/96 fd00:64::/96", ["fd00:64::/96"]),
    ],
)
def test_nat64_prefixes_read(text: str, prefixes: list[str]) -> None:
    """The longest comes first, so that what is within another counts."""
    assert [str(prefix) for prefix in lists.nat64_prefixes(text, NOWHERE)] == prefixes


@pytest.mark.parametrize("text", ["10.0.0.0/8", "2001:db8::/44", "fd00::1", "64:ff9b::/97", "x"])
def test_nat64_prefixes_refuse(text: str) -> None:
    """Translators know six lengths (RFC 6052 section 2.2)."""
    assert "would be right" in reasons(lists.nat64_prefixes, text)[0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("*.example", "'*.example' is not a domain; .example would be right"),
        ("http://files.corp", "is not a network"),
        ("files.corp:80", "is not a network"),
        ("files_corp!", "a name or .domain would be right"),
        ("a..b", "a name or .domain would be right"),
        ("-a.b", "a name or .domain would be right"),
        ("x" * 64 + ".b", "a name or .domain would be right"),
        ("b\u00fccher.example", "xn--bcher-kva.example would be right"),
        ("publik", "'publik' is not known; public, or networks, would be right"),
        ("public, private", "'private' is not known; public, or networks, would be right"),
        ("10.9.0.1/16", "10.9.0.0/16 would be right"),
        ("1.2.3", "is not a network"),
    ],
)
def test_destinations_refuse(text: str, complaint: str) -> None:
    """What is neither word, network, host nor domain is named with what was probably meant."""
    assert complaint in reasons(lists.destinations, text)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Destinations()),
        ("*", Destinations(everything=True)),
        ("public", Destinations(public=True)),
        (
            "public, 10.9.0.0/16, Files.Corp, .lab.example",
            Destinations(
                public=True,
                networks=(ip_network("10.9.0.0/16"),),
                hosts=("files.corp", ".lab.example"),
            ),
        ),
        ("a a ::1 ::1", Destinations(networks=(ip_network("::1"),), hosts=("a",))),
        ("* public", Destinations(everything=True, public=True)),
    ],
)
def test_destinations_read(text: str, expected: Destinations) -> None:
    """Words, networks and hosts are told apart; hosts come in lower case, each once."""
    assert lists.destinations(text, NOWHERE) == expected


@pytest.mark.parametrize("text", ["0", "65536", "http", "443-445", "443, *", "-1", "4.5"])
def test_ports_refuse(text: str) -> None:
    """A port is a number from 1 to 65535; the star stands alone."""
    assert "numbers from 1 to 65535" in reasons(lists.ports, text)[0]


@pytest.mark.parametrize(
    ("text", "ports"),
    [("*", None), ("", frozenset()), ("443, 563 8443\n443", frozenset({443, 563, 8443}))],
)
def test_ports_read(text: str, ports: frozenset[int] | None) -> None:
    """No port at all turns CONNECT off; None is every port."""
    assert lists.ports(text, NOWHERE) == ports


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("dns.example", "is no address"),
        ("9.9.9.9:dns", "is not a port"),
        ("9.9.9.9:0", "is not a port"),
        ("[::1", "is no address"),
        ("[::1]:x", "is not a port"),
        ("system, 9.9.9.9", "'system' is no address"),
        ("[dns]:53", "is no address"),
    ],
)
def test_name_servers_refuse(text: str, complaint: str) -> None:
    """A name server is an address, because a name would need one."""
    assert complaint in reasons(lists.name_servers, text)[0]


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("system", ()),
        ("9.9.9.9, 9.9.9.9:5353", ("9.9.9.9", "9.9.9.9:5353")),
        ("2620:fe::fe [2620:fe::fe]:53 [::1]", ("2620:fe::fe", "[2620:fe::fe]:53", "[::1]")),
    ],
)
def test_name_servers_read(text: str, servers: tuple[str, ...]) -> None:
    """Addresses come as they were written; the host's own way is the empty tuple."""
    assert lists.name_servers(text, NOWHERE) == servers


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("*", "is every host; names, .domains or networks would be right"),
        ("*.*", "is every host"),
        ("*.-x", "is not a host"),
        ("a b..c", "'b..c' is not a host"),
        ("http://a.lan", "is not a network"),
        ("10.0.0.1/8", "10.0.0.0/8 would be right"),
        ("fe80::1%eth0", "the address alone would be right"),
        ("b\u00fccher.lan", "xn--bcher-kva.lan would be right"),
    ],
)
def test_direct_hosts_refuse(text: str, complaint: str) -> None:
    """What clients couldn't match a host with is refused."""
    assert complaint in reasons(lists.direct_hosts, text)[0]


def test_direct_hosts_read(tmp_path: Path) -> None:
    """They come as text, networks in their shortest form, each once; a file may hold them."""
    (tmp_path / "direct.txt").write_text("nas # ours\n*.cam.lan\n")
    at = Surroundings(tmp_path / "proxyapp.ini", {})
    text = "Files.Corp .lab.example\nfiles.corp, 10.9.0.0/255.255.0.0 ::1 @direct.txt public"
    assert lists.direct_hosts(text, at) == (
        *("files.corp", ".lab.example", "10.9.0.0/16", "::1/128", "nas", "*.cam.lan", "public"),
    )
    assert lists.direct_hosts("", at) == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gate.lan", "has no port; gateway.lan:3128 or [fd00::1]:3128 is right"),
        ("fd00::1", "has no port"),
        ("[fd00::1]", "has no port"),
        ("gate.lan:", "is not a port"),
        ("gate.lan:0", "is not a port"),
        ("gate.lan:http", "is not a port"),
        ("http://gate.lan:3128", "has no port"),
        (":3128", "names no host"),
        (".lan:3128", "names no host"),
        ("*:3128", "names no host"),
        ("[gate]:3128", "names no host"),
        ("[192.168.7.1]:3128", "names no host"),
        ("[fe80::1%eth0]:3128", "names no host"),
        ("ga_te!:3128", "names no host"),
    ],
)
def test_gateways_refuse(text: str, complaint: str) -> None:
    """A gateway is a host with its port, as a PAC spells it."""
    assert complaint in reasons(lists.gateways, text)[0]


def test_gateways_read() -> None:
    """They come in their order, each once."""
    text = "Gate.lan:3128, 192.168.7.1:3128\n[fd00::1]:8080 gate.lan:3128"
    expected = ("gate.lan:3128", "192.168.7.1:3128", "[fd00::1]:8080")
    assert lists.gateways(text, NOWHERE) == expected
    assert lists.gateways("", NOWHERE) == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("192.168.7.1", "is no name; gateway.lan would be right"),
        ("fd00::1", "is no name"),
        ("gate.lan:3128", "is no name"),
        (".lan", "is a domain; the names of one host would be right"),
        ("*.lan", "is not a domain"),
        ("gate!", "is not a host"),
    ],
)
def test_host_names_refuse(text: str, complaint: str) -> None:
    """The names of one machine are no addresses, no domains, and have no port."""
    assert complaint in reasons(lists.host_names, text)[0]


def test_host_names_read() -> None:
    """They come in lower case and in their order, each once."""
    assert lists.host_names("Gate.LAN, wpad\ngate.lan", NOWHERE) == ("gate.lan", "wpad")
    assert lists.host_names("", NOWHERE) == ()


@pytest.mark.parametrize(
    ("text", "right"),
    [("zstd", "zst"), ("gz", "gzip"), (".gz", "gzip"), ("brotli", "br"), ("xz", "br, zst, gzip")],
)
def test_content_codings_refuse(text: str, right: str) -> None:
    """A coding by another of its names is told apart from one that there isn't."""
    (reason,) = reasons(lists.content_codings, f"br {text}")
    assert reason == f"{text!r} is no content coding here; {right} would be right"


def test_content_codings_read() -> None:
    """Their order is the preference; none turns siblings off."""
    assert lists.content_codings("GZIP, br gzip", NOWHERE) == ("gzip", "br")
    assert lists.content_codings("", NOWHERE) == ()


def test_file_names() -> None:
    """Index files are names without folders."""
    assert lists.file_names("index.html index.htm", NOWHERE) == ("index.html", "index.htm")
    assert lists.file_names("", NOWHERE) == ()
    assert len(reasons(lists.file_names, "../x, ok, a/b, ..")) == 3


@given(st.text(max_size=40).filter(lambda text: "@" not in text))
def test_lists_read_or_complain(text: str) -> None:
    """No text makes a list parser fail in another way than with its complaints."""
    for parse in (
        lists.networks,
        lists.destinations,
        lists.ports,
        lists.name_servers,
        lists.nat64_prefixes,
        lists.file_names,
        lists.direct_hosts,
        lists.gateways,
        lists.host_names,
        lists.content_codings,
    ):
        try:
            parse(text, NOWHERE)
        except WrongValue as wrong:
            assert wrong.reasons
