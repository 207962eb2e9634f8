"""Hosts of a URL, and the hosts that a DNS record of kind SRV names, as `mongodb+srv://` has it.

The standard library asks for no such records, and a function carries no resolver: one question is a page.
"""

import secrets
import socket
import struct
from pathlib import Path
from typing import Final

from slipway.base.errors import Unavailable

_SRV: Final = 33
_INTERNET: Final = 1
_RECURSE: Final = 0x0100
_HEADER: Final = struct.Struct("!6H")
_RECORD: Final = struct.Struct("!2HIH")
_SERVICE: Final = struct.Struct("!3H")
_POINTER: Final = 0xC0
_MOST_JUMPS: Final = 32
_DNS: Final = 53
_CONFIGURATION: Final = Path("/etc/resolv.conf")
_TIMEOUT_S: Final = 3.0


def hosts_of(url: str) -> tuple[str, list[tuple[str, int | None]]]:
    """Scheme, and host and port of each address: a database's URL may name several. Raises ValueError for none."""
    scheme, _, rest = url.partition("://")
    authority = rest.split("/", 1)[0].split("?", 1)[0].rpartition("@")[2]
    hosts = [_host(part) for part in authority.split(",") if part]
    if not scheme or not hosts:
        raise ValueError("no host")
    return scheme, hosts


def _host(part: str) -> tuple[str, int | None]:
    if part.startswith("["):  # an address of IPv6
        host, _, port = part[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = part.partition(":")
    if not host:
        raise ValueError("no host")
    return host, int(port) if port else None


def ask(name: str, resolver: tuple[str, int] | None = None) -> list[tuple[str, int]]:
    """Hosts and ports that the record of `name` names; raises Unavailable or OSError when nobody says.

    `resolver` is the first one that this system asks when it is left out.
    """
    number = secrets.randbelow(1 << 16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(_TIMEOUT_S)
        line.connect(resolver or (resolver_of(_CONFIGURATION.read_text()), _DNS))
        line.send(question(number, name))
        answer = line.recv(4096)
    return answers(number, answer)


def resolver_of(configuration: str) -> str:
    """The first name server of a resolv.conf; raises Unavailable for none."""
    for line in configuration.splitlines():
        words = line.split()
        if words[:1] == ["nameserver"] and len(words) > 1 and ":" not in words[1]:
            return words[1]
    raise Unavailable("This system names no name server.")


def question(number: int, name: str) -> bytes:
    """The datagram that asks for the record of `name`."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return _HEADER.pack(number, _RECURSE, 1, 0, 0, 0) + labels + struct.pack("!2H", _SRV, _INTERNET)


def answers(number: int, datagram: bytes) -> list[tuple[str, int]]:
    """What a datagram answers; raises Unavailable when it answers something else, or nothing."""
    try:
        given, flags, questions, records, _, _ = _HEADER.unpack_from(datagram)
        if given != number or flags & 0x000F:
            raise Unavailable("The name server has no such record.")
        place = _HEADER.size
        for _ in range(questions):
            _, place = _name(datagram, place)
            place += 4
        found: list[tuple[str, int]] = []
        for _ in range(records):
            _, place = _name(datagram, place)
            kind, _, _, length = _RECORD.unpack_from(datagram, place)
            place += _RECORD.size
            if kind == _SRV:
                _, _, port = _SERVICE.unpack_from(datagram, place)
                host, _ = _name(datagram, place + _SERVICE.size)
                found.append((host, port))
            place += length
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise Unavailable("The name server answered nothing that can be read.") from error
    return found


def _name(datagram: bytes, place: int) -> tuple[str, int]:
    """The name at `place`, and where what follows it begins. Names may end in a pointer to another."""
    labels: list[str] = []
    after: int | None = None
    for _ in range(_MOST_JUMPS):
        length = datagram[place]
        if length & _POINTER == _POINTER:
            after = place + 2 if after is None else after
            place = (length & ~_POINTER) << 8 | datagram[place + 1]
        elif length:
            labels.append(datagram[place + 1 : place + 1 + length].decode("ascii"))
            place += 1 + length
        else:
            return ".".join(labels), place + 1 if after is None else after
    raise IndexError(place)
