"""No spelling of an inside address gets past the parser and the judge of destinations together."""

from __future__ import annotations

import pytest

from proxyapp import errors
from proxyapp.proxy.destinations import Destinations
from proxyapp.rules.access import Access
from proxyapp.wire.target import parse_target
from tests.support import AccessOptions

JUDGE = Destinations(Access(AccessOptions(), None, ()), lambda address: False, [3128])

# What inet_aton(3), browsers, or a decoder on the way would read as an address: no target of ours.
BAD_TARGETS = [
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "017700000001",
    "0",
    "0x0",
    "0x",
    "127.1",
    "127.0.1",
    "127.0.0.1.0",
    "127.0.0.1..",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "0177.1",
    "127.0.0.01",
    "00127.0.0.1",
    "127.0.0.0x1",
    "127.0.0.256",
    "127.0.0.4294967297",
    "169.254.43518",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.169.254.0x",
    "a.127",
    "x.0x7f",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "127.0.0.1%00.example.com",
    "127.0.0.1%20",
    "127.0.0.1%0d",
    "localhost%00",
    "localhost%2eexample.com",
    "\uff11\uff12\uff17.0.0.1",
    "\u2460\u2461\u2466.0.0.1",
    "127\u30020\u30020\u30021",
    "loc\u0430lhost",
    "127.0.0.1\\@example.com",
    "127.0.0.1@example.com",
    "example.com@127.0.0.1",
    "example.com:80@127.0.0.1",
    "127.0.0.1,example.com",
    "127.0.0.1;example.com",
    "127.0.0.1:80:80",
    "127.0.0.1:0",
    "127.0.0.1:65616",
    "127.0.0.1:+80",
    "127.0.0.1:0x50",
    "::1",
    "::ffff:127.0.0.1",
    "[127.0.0.1]",
    "[::1",
    "[::1]]",
    "[[::1]]",
    "[::1]x",
    "[::ffff:127.1]",
    "[::ffff:0177.0.0.1]",
    "[0:0:0:0:0:0:0:0:1]",
    "[::1%lo]",
    "[::1%25lo]",
    "[fe80::1%25eth0]",
    "[v1.127.0.0.1]",
    "[localhost]",
]

# What is read as an address is judged as that address.
INSIDE = [
    ("127.0.0.1", "127.0.0.1"),
    ("127.0.0.1.", "127.0.0.1"),
    ("127.255.255.254", "127.255.255.254"),
    ("0.0.0.0", "0.0.0.0"),
    ("10.0.0.1", "10.0.0.1"),
    ("100.64.0.1", "100.64.0.1"),
    ("169.254.169.254", "169.254.169.254"),
    ("172.16.0.1", "172.16.0.1"),
    ("192.0.0.170", "192.0.0.170"),
    ("192.0.2.1", "192.0.2.1"),
    ("192.88.99.1", "192.88.99.1"),
    ("192.168.0.1", "192.168.0.1"),
    ("198.18.0.1", "198.18.0.1"),
    ("224.0.0.1", "224.0.0.1"),
    ("240.0.0.1", "240.0.0.1"),
    ("255.255.255.255", "255.255.255.255"),
    ("[::]", "::"),
    ("[::1]", "::1"),
    ("[0:0:0:0:0:0:0:1]", "::1"),
    ("[0000::0001]", "::1"),
    ("[::0.0.0.1]", "::1"),
    ("[::127.0.0.1]", "::7f00:1"),
    ("[::ffff:127.0.0.1]", "::ffff:7f00:1"),
    ("[::FFFF:7F00:1]", "::ffff:7f00:1"),
    ("[::ffff:0:127.0.0.1]", "::ffff:0:7f00:1"),
    ("[::ffff:169.254.169.254]", "::ffff:a9fe:a9fe"),
    ("[64:ff9b::127.0.0.1]", "64:ff9b::7f00:1"),
    ("[64:ff9b::a9fe:a9fe]", "64:ff9b::a9fe:a9fe"),
    ("[64:ff9b:1::10.0.0.1]", "64:ff9b:1::a00:1"),
    ("[64:ff9b:1:a00:0:100::]", "64:ff9b:1:a00:0:100::"),
    ("[2001:0:4136:e378::f5ff:fffe]", "2001:0:4136:e378::f5ff:fffe"),
    ("[2001:db8::1]", "2001:db8::1"),
    ("[2002:7f00:1::]", "2002:7f00:1::"),
    ("[2002:c0a8:1::1]", "2002:c0a8:1::1"),
    ("[2606:4700::5efe:10.0.0.1]", "2606:4700::5efe:a00:1"),
    ("[fc00::1]", "fc00::1"),
    ("[fd00:ec2::254]", "fd00:ec2::254"),
    ("[fe80::1]", "fe80::1"),
    ("[fec0::1]", "fec0::1"),
    ("[ff02::1]", "ff02::1"),
]


@pytest.mark.parametrize("spelled", BAD_TARGETS)
def test_bad_targets(spelled: str) -> None:
    """What two readers could take for two hosts is no target, plain or of a tunnel."""
    with pytest.raises(errors.BadRequest):
        parse_target(b"GET", b"http://%b/" % spelled.encode())
    with pytest.raises(errors.BadRequest):
        parse_target(b"CONNECT", b"%b:443" % spelled.encode())


@pytest.mark.parametrize(("spelled", "host"), INSIDE)
def test_inside_addresses(spelled: str, host: str) -> None:
    """An address is judged as what it is, and none of these is public."""
    for method, target in (("GET", f"http://{spelled}/"), ("CONNECT", f"{spelled}:443")):
        origin = parse_target(method.encode(), target.encode()).origin
        assert origin is not None
        assert origin.host == host
        with pytest.raises(errors.DestinationDenied):
            JUDGE(origin.host, origin.host, origin.port)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_outside_addresses(host: str) -> None:
    """Public addresses may be asked for by themselves, in a network with IPv6 alone too."""
    spelled = f"[{host}]" if ":" in host else host
    origin = parse_target(b"GET", f"http://{spelled}/".encode()).origin
    assert origin is not None
    JUDGE(origin.host, origin.host, origin.port)
