"""Whoever names an address does not make this service speak to its own network (attack 43)."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.contract import NeedsOperator, Transient
from connectors.fetch import Fetcher, is_public
from tests.weaken import weakens

pytestmark = [pytest.mark.attack(43), pytest.mark.storeless]

NAME = "keys.example"
HERE = ["127.0.0.1"]


def resolver(*answers: Sequence[str]) -> Callable[[str, int], Sequence[str]]:
    """The name means these addresses, one after the other: the last for good."""
    left = list(answers)
    return lambda *_: left.pop(0) if len(left) > 1 else left[0]


class Server:
    """A real server on loopback, which remembers what it was asked."""

    def __init__(
        self, body: bytes = b'{"keys": []}', status: int = 200, trust: Path | None = None, port: int = 0
    ) -> None:
        self.asked: list[tuple[str, str]] = []
        told = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told.append((self.path, self.headers["Host"]))
                self.send_response(status)
                self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/secret")  # type: ignore[attr-defined]
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.2" if port else "127.0.0.1", port), Handler)
        if trust:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(trust)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        thread.join()
        server.server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of keys.example, with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def trusting(file: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(file))


def test_a_public_address_is_asked_over_tls_for_the_name_that_was_given(certificate: Path) -> None:
    """The server stands on loopback, which the setting for trials lets in; all else is as on the internet."""
    with serving(Server(trust=certificate)) as server:
        fetcher = Fetcher(loopback=True, resolve=resolver(HERE), trust=trusting(certificate))
        assert fetcher.get(f"https://{NAME}:{server.port}/jwks.json?a=b") == b'{"keys": []}'
        assert server.asked == [("/jwks.json?a=b", f"{NAME}:{server.port}")]


def test_the_certificate_must_name_the_host_and_not_the_address(certificate: Path) -> None:
    with serving(Server(trust=certificate)) as server:
        fetcher = Fetcher(loopback=True, resolve=resolver(HERE), trust=trusting(certificate))
        with pytest.raises(Transient):
            fetcher.get(f"https://other.example:{server.port}/")
        assert server.asked == []


INWARD = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:93.184.215.14",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", INWARD)
def test_what_is_not_in_the_public_internet_is_not_asked(address: str) -> None:
    assert not is_public(ip_address(address))
    for found in ([address], ["93.184.215.14", address], [address, "93.184.215.14"]):
        with pytest.raises(NeedsOperator, match="no public network"):
            Fetcher(resolve=resolver(found)).get(f"https://{NAME}/jwks.json")


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001::1"])
def test_what_is_in_the_public_internet_may_be(address: str) -> None:
    assert is_public(ip_address(address))


@weakens("connectors.fetch", "is_public", lambda _: True)
def test_a_server_within_the_network_hears_nothing(certificate: Path) -> None:
    with serving(Server(trust=certificate)) as server:
        fetcher = Fetcher(resolve=resolver(HERE), trust=trusting(certificate))
        with pytest.raises(NeedsOperator):
            fetcher.get(f"https://{NAME}:{server.port}/")
        assert server.asked == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433", "017700000001", "[::1]"])
def test_no_way_to_write_this_machine_is_taken(host: str) -> None:
    """With the resolver of the machine itself."""
    for scheme in ("http", "https"):
        with pytest.raises((NeedsOperator, Transient), match=r"no public network|not found|is none"):
            Fetcher().get(f"{scheme}://{host}/")


def _looked_up_twice(self: Fetcher, url: httpx.URL) -> str:
    return [self._resolve(url.host, 0) for _ in range(2)][-1][0]


@weakens("connectors.fetch.Fetcher", "_pinned", _looked_up_twice)
def test_a_name_that_means_another_machine_a_moment_later_is_not_looked_up_again(certificate: Path) -> None:
    """DNS rebinding: what was checked is what is connected to."""
    with (
        serving(Server(trust=certificate)) as server,
        serving(Server(b"inner", 200, certificate, server.port)) as inner,
    ):
        resolve = resolver(HERE, ["127.0.0.2"], ["10.0.0.1"])
        fetcher = Fetcher(loopback=True, resolve=resolve, trust=trusting(certificate))
        assert fetcher.get(f"https://{NAME}:{server.port}/") == b'{"keys": []}'
        assert inner.asked == []
        assert fetcher.get(f"https://{NAME}:{server.port}/") == b"inner"  # the next time it is looked up anew,
        with pytest.raises(NeedsOperator):
            fetcher.get(f"https://{NAME}:{server.port}/")  # and refused where it points inward


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    with serving(Server(status=status)) as server:
        with pytest.raises(Transient, match=str(status)):
            Fetcher(loopback=True).get(f"http://127.0.0.1:{server.port}/jwks.json")
        assert [path for path, _ in server.asked] == ["/jwks.json"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "jwks.json",
        "//keys.example/",
        "https://",
        "https:///jwks.json",
        "ftp://keys.example/",
        "file:///etc/passwd",
        "gopher://keys.example/",
        "data:application/json,{}",
        "https://user@keys.example/",
        "https://user:secret@keys.example/",
        "https://keys.example/#part",
        "https://keys.example:port/",
        "https://keys.example:99999999/",
        "https://[::1/",
        "https://keys.example/\x00",
        "https://" + "x" * 70_000,
    ],
)
def test_what_is_no_https_address_is_not_looked_up(address: str) -> None:
    def resolve(*_: object) -> Sequence[str]:
        raise AssertionError("looked up")

    with pytest.raises(NeedsOperator):
        Fetcher(loopback=True, resolve=resolve).get(address)


@pytest.mark.parametrize("found", [["93.184.215.14"], ["127.0.0.1", "93.184.215.14"]])
def test_plain_http_goes_to_this_machine_alone(found: list[str]) -> None:
    with pytest.raises(NeedsOperator):
        Fetcher(loopback=True, resolve=resolver(found)).get(f"http://{NAME}/")


def test_a_name_that_is_not_found_may_be_later() -> None:
    def resolve(*_: object) -> Sequence[str]:
        raise socket.gaierror

    for one in (resolve, resolver([])):
        with pytest.raises((Transient, NeedsOperator)):
            Fetcher(resolve=one).get(f"https://{NAME}/")


def test_an_answer_is_read_up_to_a_bound() -> None:
    with serving(Server(body=b" " * (256 * 1024))) as server:
        assert len(Fetcher(loopback=True).get(f"http://127.0.0.1:{server.port}/")) == 256 * 1024
    with serving(Server(body=b" " * (256 * 1024 + 1))) as server, pytest.raises(NeedsOperator):
        Fetcher(loopback=True).get(f"http://127.0.0.1:{server.port}/")


@pytest.mark.attack(54)
def test_a_server_that_trickles_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece comes in time, and all of them never."""
    monkeypatch.setattr("connectors.fetch._SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b"X-More: 1\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        with pytest.raises(Transient, match="in time"):
            Fetcher(loopback=True).get(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        stop.set()
        thread.join()
