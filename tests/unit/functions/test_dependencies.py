"""Dependencies are asked where their secret says, and a secret never shows."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from slipway.base.errors import Unavailable
from slipway.functions import dependencies
from slipway.functions.service_records import answers, ask, hosts_of, question, resolver_of


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def mongodb(port: int, health: str = "tcp") -> dict[str, Any]:
    return {"mongodb": {"secret": "arn", "port": port, "health": health}}


def test_one_that_takes_a_connection_is_well() -> None:
    with listening() as port:
        assert dependencies.check(mongodb(port), lambda _: "mongodb://user:p%40ss@127.0.0.1/app") == {"mongodb": True}
        assert dependencies.check(mongodb(1), lambda _: f"mongodb://u:p@127.0.0.1:{port}/app") == {"mongodb": True}


def test_one_of_several_hosts_is_enough() -> None:
    with listening() as port:
        url = f"mongodb://u:p@127.0.0.1:1,127.0.0.1:{port}/app?replicaSet=x"
        assert dependencies.check(mongodb(27017), lambda _: url) == {"mongodb": True}


@pytest.mark.parametrize("url", ["", "mongodb://", "mongodb://127.0.0.1:1/", "not a url", "mongodb://h:port/"])
def test_nobody_there_or_no_address_is_not_well(url: str) -> None:
    assert dependencies.check(mongodb(1), lambda _: url) == {"mongodb": False}


def test_a_secret_that_nobody_filled_is_not_well() -> None:
    def empty(_: str) -> str:
        raise LookupError("no value")

    assert dependencies.check(mongodb(1), empty) == {"mongodb": False}


def test_what_is_away_is_measured_and_named_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[dict[str, Any]] = []

    class CloudWatch:
        def put_metric_data(self, **given: Any) -> None:
            measured.append(given)

    monkeypatch.setattr(dependencies, "client", lambda _: CloudWatch())
    monkeypatch.setattr(dependencies, "_secret", lambda _: "mongodb://user:password@127.0.0.1:1/")
    monkeypatch.setenv("SLIPWAY_METRICS", "Slipway/x-prod")
    monkeypatch.setenv("SLIPWAY_DEPENDENCIES", '{"mongodb": {"secret": "arn", "port": 1, "health": "tcp"}}')
    with pytest.raises(Unavailable) as refused:
        dependencies.handler({}, None)
    assert str(refused.value) == "mongodb cannot be reached."
    [given] = measured
    assert given["Namespace"] == "Slipway/x-prod"
    assert given["MetricData"] == [
        {
            "MetricName": "DependencyHealthy",
            "Dimensions": [{"Name": "Dependency", "Value": "mongodb"}],
            "Value": 0.0,
        }
    ]


def test_urls_name_one_host_or_several() -> None:
    assert hosts_of("postgres://u:p@db.example.com:6432/app") == ("postgres", [("db.example.com", 6432)])
    assert hosts_of("mongodb://u:a,b@h1,h2:27018/?x=1") == ("mongodb", [("h1", None), ("h2", 27018)])
    assert hosts_of("redis://[::1]:6379") == ("redis", [("::1", 6379)])


def record(name: bytes, port: int, host: bytes) -> bytes:
    data = struct.pack("!3H", 0, 0, port) + host
    return name + struct.pack("!2HIH", 33, 1, 60, len(data)) + data


def test_records_of_a_cluster_are_read_with_their_pointers() -> None:
    asked = question(7, "_mongodb._tcp.cluster.example.com")
    # 0xC000 points to the question's name, whose third label begins 14 bytes on.
    cluster = 12 + len(b"\x08_mongodb") + len(b"\x04_tcp")
    pointer = struct.pack("!H", 0xC000 | cluster)
    datagram = (
        struct.pack("!6H", 7, 0x8180, 1, 2, 0, 0)
        + asked[12:]
        + record(b"\xc0\x0c", 27017, b"\x02h1" + pointer)
        + record(b"\xc0\x0c", 27018, b"\x02h2\x07example\x03com\x00")
    )
    assert answers(7, datagram) == [("h1.cluster.example.com", 27017), ("h2.example.com", 27018)]


@pytest.mark.parametrize(
    "datagram",
    [b"", struct.pack("!6H", 8, 0x8180, 0, 0, 0, 0), struct.pack("!6H", 7, 0x8183, 0, 0, 0, 0),
     struct.pack("!6H", 7, 0x8180, 1, 1, 0, 0) + b"\xc0\x0c"],
)  # fmt: skip
def test_other_answers_are_refused(datagram: bytes) -> None:
    with pytest.raises(Unavailable):
        answers(7, datagram)


def test_a_name_server_is_asked() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            asked, who = server.recvfrom(512)
            head = asked[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0)
            server.sendto(head + asked[12:] + record(b"\xc0\x0c", 27017, b"\x02h1\x04test\x00"), who)

        thread = threading.Thread(target=answer)
        thread.start()
        assert ask("_mongodb._tcp.x.test", server.getsockname()) == [("h1.test", 27017)]
        thread.join()


def test_the_systems_own_name_server_is_asked_by_default() -> None:
    assert resolver_of("# made by hand\nsearch x\nnameserver fe80::1\nnameserver 10.0.0.2\n") == "10.0.0.2"
    with pytest.raises(Unavailable):
        resolver_of("search x\n")


def test_a_secret_that_cannot_be_read_or_a_record_that_is_none_is_not_well() -> None:
    def refused(_: str) -> str:
        raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetSecretValue")

    def unknown(_: str) -> str:
        raise Unavailable("The name server has no such record.")

    for read in (refused, unknown):
        assert dependencies.check(mongodb(1), read) == {"mongodb": False}
