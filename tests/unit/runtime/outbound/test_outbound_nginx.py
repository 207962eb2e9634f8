"""The client of servers outside against nginx over TLS, with a certificate made here."""

import asyncio
import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from slipway.base.errors import Unavailable
from slipway.runtime.outbound import Bounds, Deadlines, Outbound
from tests import debian

QUICK = Deadlines(connect_s=5.0, first_byte_s=10.0, total_s=20.0)
LARGE = bytes(range(256)) * 4096

CONFIG = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  keepalive_requests 7; keepalive_timeout 1s;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    root {folder}; error_page 405 =200 $uri;
    location = /plain {{ return 200 "plain"; }}
    location = /chunked {{ ssi on; ssi_types *; }}
    location = /large {{ }}
  }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    port: int
    trusted: ssl.SSLContext
    folder: Path


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    program = debian.program("nginx", package="nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    _certificate(folder)
    (folder / "chunked").write_bytes(b"chunked")
    (folder / "large").write_bytes(LARGE)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(user + CONFIG.format(folder=folder, port=port))
    process = subprocess.Popen([program, "-e", f"{folder}/error.log", "-p", folder, "-c", folder / "nginx.conf"])
    try:
        until_s = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until_s
                time.sleep(0.05)
        yield Nginx(port, ssl.create_default_context(cafile=str(folder / "cert.pem")), folder)
    finally:
        process.terminate()
        process.wait(10)


def _certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.mark.parametrize(("path", "body"), [("/plain", b"plain"), ("/chunked", b"chunked"), ("/large", LARGE)])
def test_answers_come_whole(nginx: Nginx, path: str, body: bytes):
    async def main() -> None:
        client = Outbound(f"https://127.0.0.1:{nginx.port}", tls=nginx.trusted)
        answer = await client.post(path, [], b"{}", QUICK)
        assert (answer.status, answer.body) == (200, body)
        if path == "/chunked":
            assert answer.headers.get("transfer-encoding") == "chunked"
        stream = await client.stream(path, [], b"{}", QUICK)
        assert await stream.rest(len(LARGE)) == body
        stream.close()
        await client.close()

    asyncio.run(main())


def test_connections_that_nginx_ends_after_some_requests_lose_no_call(nginx: Nginx):
    async def main() -> None:
        client = Outbound(f"https://127.0.0.1:{nginx.port}", bounds=Bounds(connections=8), tls=nginx.trusted)

        async def several() -> None:
            for _ in range(20):
                assert (await client.post("/plain", [], b"{}", QUICK)).body == b"plain"

        await asyncio.gather(*(several() for _ in range(12)))
        await client.close()

    asyncio.run(main())


def test_connections_that_nginx_ends_when_idle_are_not_used(nginx: Nginx):
    async def main() -> None:
        client = Outbound(f"https://127.0.0.1:{nginx.port}", tls=nginx.trusted)
        await client.post("/plain", [], b"{}", QUICK)
        time.sleep(1.5)
        assert (await client.post("/plain", [], b"{}", QUICK)).body == b"plain"
        await client.close()

    asyncio.run(main())


def test_a_certificate_or_a_name_that_does_not_hold_is_refused(nginx: Nginx):
    async def main() -> None:
        for host, tls in (("127.0.0.1", None), ("localhost", nginx.trusted)):
            client = Outbound(f"https://{host}:{nginx.port}", tls=tls)
            with pytest.raises(Unavailable) as caught:
                await client.post("/plain", [], b"{}", QUICK)
            assert "CERTIFICATE_VERIFY_FAILED" in caught.value.detail
            assert not caught.value.effect_unknown
            await client.close()

    asyncio.run(main())
