"""What a device of a LAN asks of it: an address by DHCP, and names; a script for a namespace.

`landevice.py SERVER NAME...` prints option 252 of the offer, and a line for each name.
"""

from __future__ import annotations

import socket
import struct
import sys

_COOKIE = b"\x63\x82\x53\x63"
_END, _TYPE, _ASKED_FOR, _WPAD, _ROUTER = 255, 53, 55, 252, 3
_DISCOVER = 1
_PATIENCE = 60.0
_REFUSED = 5


def offered() -> dict[int, bytes]:
    """Return the options that the DHCP server here offers (RFC 2131, RFC 2132)."""
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    asking.settimeout(_PATIENCE)
    asking.bind(("0.0.0.0", 68))
    # A request from Ethernet, to be answered to all; four addresses, the card's, and two names.
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x70726F78, 0, 0x8000) + bytes(16)
    card = bytes.fromhex("02005e007050").ljust(16, b"\0")
    options = bytes([_TYPE, 1, _DISCOVER, _ASKED_FOR, 2, _ROUTER, _WPAD, _END])
    asking.sendto(head + card + bytes(192) + _COOKIE + options, ("255.255.255.255", 67))
    answer = asking.recv(1500).partition(_COOKIE)[2]
    found = {}
    while answer and answer[0] != _END:
        found[answer[0]], answer = answer[2 : 2 + answer[1]], answer[2 + answer[1] :]
    return found


def looked_up(name: str, server: str) -> str:
    """Return the address that *server* has for *name*, or its code (RFC 1035 section 4.1)."""
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(_PATIENCE)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = labels + b"\0" + struct.pack("!HH", 1, 1)
    asking.sendto(struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + question, (server, 53))
    answer = asking.recv(1500)
    code = answer[3] & 15
    if code or not struct.unpack("!H", answer[6:8])[0]:
        return "refused" if code == _REFUSED else f"code {code}"
    return socket.inet_ntoa(answer[-4:])


if __name__ == "__main__":
    options = offered()
    print("option 252:", options[_WPAD].decode())
    print("router:", socket.inet_ntoa(options[_ROUTER]))
    for each in sys.argv[2:]:
        print(f"{each}:", looked_up(each, sys.argv[1]))
