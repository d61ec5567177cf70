"""The edge's listeners in a deployment of its own: TLS whose certificate is renewed, and figures for probes and Prometheus."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import httpx
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge_envoy.settings import Address, EdgeSettings, Tls
from tests.harness_envoy import Edge, running_edge
from tests.harness_postgres import until

DAY = dt.timedelta(days=1)


class Certificates:
    """A folder of one certificate as cert-manager keeps it: `..data` points to the files, and is replaced by a rename."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    def renew(self) -> bytes:
        """Puts another certificate there and returns it, in PEM."""
        self.count += 1
        key = ec.generate_private_key(ec.SECP256R1())
        version = self.folder / f"..{self.count}"
        version.mkdir(parents=True)
        certificate = self_signed(key, self.count).public_bytes(serialization.Encoding.PEM)
        (version / "tls.crt").write_bytes(certificate)
        encryption = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        (version / "tls.key").write_bytes(pem)
        link = self.folder / "..new"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")
        for name in ("tls.crt", "tls.key"):
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        return certificate


def self_signed(key: ec.EllipticCurvePrivateKey, serial: int) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, now - DAY, now + 90 * DAY)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256())


@pytest_asyncio.fixture
async def certificates(folder: Path) -> Certificates:
    made = Certificates(folder / "certificates")
    made.renew()
    return made


@pytest_asyncio.fixture
async def deployed(edge_settings: EdgeSettings, certificates: Certificates, folder: Path) -> AsyncIterator[Edge]:
    tls = Tls(folder / "tls.json", certificates.certificate, certificates.folder / "tls.key")
    tls.resource.write_text(tls.resource_text)
    settings = replace(edge_settings, tls=tls, status=Address("127.0.0.1", 0), hsts_seconds=600)
    async with running_edge(settings, folder) as running:
        yield running


async def test_grpc_and_json_are_answered_over_tls(deployed: Edge, certificates: Certificates) -> None:
    pem = certificates.certificate.read_bytes()
    address = f"localhost:{deployed.port}"
    async with grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(pem)) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    context = ssl.create_default_context(cadata=pem.decode())
    async with httpx.AsyncClient(verify=context, timeout=20) as http:
        assert (await http.get(f"https://{address}/healthz")).status_code == 200
        refusal = await http.get(f"https://{address}/api/v1/jobs")
    assert refusal.status_code == 401
    assert refusal.headers["strict-transport-security"] == "max-age=600; includeSubDomains"


async def test_without_tls_nobody_is_answered(deployed: Edge) -> None:
    try:
        answer = await deployed.http.get("/healthz")
    except httpx.TransportError:
        return
    raise AssertionError(f"answered {answer.status_code} in the clear")


async def test_a_renewed_certificate_is_shown_without_a_restart(deployed: Edge, certificates: Certificates) -> None:
    async def shown() -> str:
        return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", deployed.port), timeout=20)

    async def is_shown(pem: bytes) -> bool:
        return (await shown()).split() == pem.decode().split()

    assert await is_shown(certificates.certificate.read_bytes())
    renewed = certificates.renew()
    await until(lambda: is_shown(renewed), within_seconds=60)


async def test_probes_and_prometheus_reach_their_pages_and_no_order_passes(deployed: Edge) -> None:
    listeners = (await deployed.admin.get("/listeners?format=json")).json()["listener_statuses"]
    status = next(listener for listener in listeners if listener["name"] == "status")
    port = status["local_address"]["socket_address"]["port_value"]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        assert (await http.get("/ready")).text == "LIVE\n"
        assert "envoy_http_downstream_rq_total" in (await http.get("/stats/prometheus")).text
        for path in ("/quitquitquit", "/config_dump", "/", "/ready/../config_dump"):
            assert (await http.get(path)).status_code == 404, path
        assert (await http.post("/ready")).status_code == 404
