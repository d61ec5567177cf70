"""A whole stack with TLS: at its edge, and between all of its processes, by certificates of its own authority."""

import datetime as dt
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from studio.stack.certificates import Certificates, certificates_of, tls_of
from studio.stack.layout import HOST
from svc_common.mutual_tls import blocking_channel
from svc_common.registry import AREAS, OPERATOR_NAME
from tests.harness import Fleet

CALL_SECONDS = 20.0
EMAIL = "maya@example.com"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    settings = {"PIPELINE": "tests.fakes.pipeline:create"}
    with Fleet(tmp_path_factory.mktemp("tls"), workers=1, settings=settings, tls=True) as running:
        yield running


def pingvas(fleet: Fleet, folder: Path, *arguments: str) -> str:
    """Runs a command on the machine of the stack; it must succeed."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    environment = {**kept, "HOME": str(folder), "PINGVAS_PASSWORD": "correct horse battery"}
    done = subprocess.run(
        [sys.executable, "-m", "studio.cli.main", *arguments, "--data-dir", str(fleet.layout.data_dir)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_picture_is_drawn_and_fetched_by_commands_that_trust_the_stack_s_authority(
    fleet: Fleet, tmp_path: Path
) -> None:
    pingvas(fleet, tmp_path, "register", EMAIL)
    # Through an internal listener, with the operator's certificate.
    pingvas(fleet, tmp_path, "admin", "grant", EMAIL, "100")
    told = json.loads(pingvas(fleet, tmp_path, "generate", "a red fox", "--steps", "2", "--json"))

    (file,) = told["files"]
    assert (tmp_path / file).stat().st_size
    assert fleet.http.startswith("https://")
    assert json.loads(pingvas(fleet, tmp_path, "status", "--json"))["ca_file"] == str(fleet.layout.authority)


def test_edge_is_believed_by_its_authority_and_by_no_other(fleet: Fleet) -> None:
    trusting = ssl.create_default_context(cafile=str(fleet.layout.authority))
    assert httpx.get(f"{fleet.http}/healthz", verify=trusting, timeout=CALL_SECONDS).status_code == 200
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{fleet.http}/healthz", timeout=CALL_SECONDS)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{fleet.grpc}/healthz", timeout=CALL_SECONDS)


@pytest.mark.parametrize("area", AREAS)
def test_services_answer_nobody_without_a_certificate_of_the_stack(fleet: Fleet, area: str, tmp_path: Path) -> None:
    layout = fleet.layout
    stranger = Certificates(tmp_path / "ca.pem", tmp_path).ensure("stranger", dt.datetime.now(dt.UTC))
    root = layout.authority.read_bytes()
    without = grpc.ssl_channel_credentials(root)
    foreign = grpc.ssl_channel_credentials(root, stranger.key.read_bytes(), stranger.certificate.read_bytes())
    for port in (layout.ports.public(area), layout.ports.internal(area)):
        address = f"{HOST}:{port}"
        with blocking_channel(address, tls_of(layout, OPERATOR_NAME)) as channel:
            assert _health(channel).status == health_pb2.HealthCheckResponse.SERVING
        for channel in (
            grpc.insecure_channel(address),
            grpc.secure_channel(address, without),
            grpc.secure_channel(address, foreign),
        ):
            with channel, pytest.raises(grpc.RpcError) as refused:
                _health(channel)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def _health(channel: grpc.Channel) -> Message:
    return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)


def test_authority_signs_for_no_other_name_than_localhost_and_its_key_is_the_owner_s(fleet: Fleet) -> None:
    certificates = certificates_of(fleet.layout)
    authority = x509.load_pem_x509_certificate(certificates.authority.read_bytes())
    names = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert names.critical
    assert [name.value for name in names.value.permitted_subtrees or ()] == ["localhost"]
    keys = [*certificates.folder.glob("*.key")]
    assert keys
    assert {file.stat().st_mode & 0o077 for file in keys} == {0}
