"""Requests to addresses of strangers: what leads into our own network is refused, whatever name or redirect hides it."""

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from svc_generation.usecases.webhooks.sending import Sender, resolve
from tests.fakes.webhook_receiver import Receiver

PUBLIC = "93.184.216.34"
NOT_PUBLIC = "isn't public"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


class Names:
    """A resolver that answers with one list after another, the last for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, *_: object) -> Sequence[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


def sender(names: Names | None = None, *, allows_private: bool = False, seconds: float = 30.0) -> Sender:
    return Sender(allows_private=allows_private, resolve=names or resolve, seconds=seconds)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "localhost",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ),
        *("[::ffff:7f00:1]", "127.0.0.1.", "0.0.0"),
    ],
)
async def test_every_spelling_of_this_machine_is_refused(host: str, receiver: Receiver) -> None:
    outcome = await sender().send(f"http://{host}:{receiver.port}/", b"{}", {})
    assert outcome.http_status == 0
    assert outcome.error
    assert receiver.received == []


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["169.254.169.254"], [PUBLIC, "127.0.0.1"], ["fd00::1"], ["::ffff:10.0.0.1"], []]
)
async def test_name_with_any_address_of_a_private_network_is_refused(addresses: list[str], receiver: Receiver) -> None:
    outcome = await sender(Names(addresses)).send(f"http://hooks.example:{receiver.port}/", b"{}", {})
    assert outcome.http_status == 0
    assert outcome.error == (
        "The host's name leads to an address that isn't public." if addresses else "The host's name has no address."
    )
    # What our network looks like stays here.
    assert not any(address in outcome.error for address in addresses)


async def test_name_that_resolves_differently_the_second_time_is_asked_once_only(receiver: Receiver) -> None:
    names = Names(["127.0.0.1"], ["192.0.2.1"])
    outcome = await sender(names, allows_private=True).send(f"http://hooks.example:{receiver.port}/a?b=c", b"{}", {})
    assert (outcome.http_status, names.asked) == (200, 1)
    (received,) = receiver.received
    assert received.path == "/a?b=c"
    assert received.headers["host"] == f"hooks.example:{receiver.port}"


async def test_public_name_that_turns_private_afterwards_reaches_nothing_private(receiver: Receiver) -> None:
    # The address of documentation's network doesn't answer: what matters is that this machine isn't asked instead.
    names = Names([PUBLIC], ["127.0.0.1"])
    outcome = await sender(names, seconds=1).send(f"http://hooks.example:{receiver.port}/", b"{}", {})
    assert outcome.http_status == 0
    assert (names.asked, receiver.received) == (1, [])


async def test_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answers.append((307, {"location": f"http://127.0.0.1:{receiver.port}/secret"}))
    outcome = await sender(allows_private=True).send(receiver.url, b"{}", {})
    assert outcome.http_status == 307
    assert [each.path for each in receiver.received] == ["/hooks"]


async def test_proxy_of_the_environment_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Receiver()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{other.port}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{other.port}")
    assert (await sender(allows_private=True).send(receiver.url, b"{}", {})).http_status == 200
    assert (len(receiver.received), other.received) == (1, [])
    other.close()


async def test_endless_answer_is_cut_off_after_a_little(receiver: Receiver) -> None:
    receiver.padding_bytes = 64 << 20
    outcome = await sender(allows_private=True).send(receiver.url, b"{}", {})
    assert outcome.http_status == 200


@asynccontextmanager
async def raw_server(*sent: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serves some bytes to whoever connects, and then nothing, until the block ends."""
    done = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for chunk in sent:
            writer.write(chunk)
        await done.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        done.set()
        server.close()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"])
async def test_answer_that_does_not_end_is_given_up(sent: bytes) -> None:
    async with raw_server(sent) as port:
        outcome = await sender(allows_private=True, seconds=0.5).send(f"http://127.0.0.1:{port}/", b"{}", {})
    assert (outcome.http_status, outcome.error) == (0, "No answer came within 0.5 seconds.")


async def test_nonsense_and_nobody_are_told_in_plain_words() -> None:
    async with raw_server(b"SSH-2.0-OpenSSH_9.9\r\n\r\n") as port:
        nonsense = await sender(allows_private=True).send(f"http://127.0.0.1:{port}/", b"{}", {})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nobody = await sender(allows_private=True).send(f"http://127.0.0.1:{port}/", b"{}", {})
    assert (nonsense.http_status, nobody.http_status) == (0, 0)
    assert nobody.error == "No connection could be made."
    assert "closed" in nonsense.error or "understood" in nonsense.error


async def test_certificate_is_checked_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    server, client = _contexts(tmp_path, "hooks.example")
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with raw_server(answer, tls=server) as port:
        for host, status in (("hooks.example", 204), ("other.example", 0)):
            names = Names(["127.0.0.1"])
            outcome = await Sender(allows_private=True, resolve=names, tls=client).send(
                f"https://{host}:{port}/", b"{}", {}
            )
            assert outcome.http_status == status, outcome.error
    assert outcome.error == "The certificate isn't valid for the host."


def _contexts(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Returns a server's context with a certificate of its own for a name, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))
