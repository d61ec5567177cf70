"""Other keys for users' tokens while a whole fleet runs: nobody notices, or everybody is out who must be."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import grpc
import httpx
import jwt
import pytest
from pingvas.gallery.v1.board_service_pb2 import ListBoardsRequest
from pingvas.gallery.v1.board_service_pb2_grpc import BoardServiceStub
from pingvas.generation.v1.generation_service_pb2 import ListJobsRequest
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.models.v1.model_service_pb2 import ListModelsRequest
from pingvas.models.v1.model_service_pb2_grpc import ModelServiceStub
from pingvas.payment.v1.credit_service_pb2 import GetBalanceRequest
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.user.v1.auth_service_pb2 import LoginRequest, RefreshRequest, RegisterRequest, TokenPair
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub
from pingvas.user.v1.user_service_pb2 import GetMeRequest
from pingvas.user.v1.user_service_pb2_grpc import UserServiceStub

from svc_common.clock import new_id, now
from svc_common.errors import Reason
from svc_common.tokens import AccessTokenIssuer, SigningKey
from svc_user.domain import ACCESS_TOKEN_LIFETIME
from tests.e2e.stage import PASSWORD, answer_or_refusal, refusal_of, until
from tests.harness import Fleet

EMAIL = "kim@example.com"
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Kim:
    """Somebody who calls every service through the edge."""

    fleet: Fleet
    channel: grpc.Channel

    def sign_in(self) -> TokenPair:
        return AuthServiceStub(self.channel).Login(LoginRequest(email=EMAIL, password=PASSWORD), timeout=SECONDS)

    def refresh(self, tokens: TokenPair) -> TokenPair:
        return AuthServiceStub(self.channel).Refresh(
            RefreshRequest(refresh_token=tokens.refresh_token), timeout=SECONDS
        )

    def calls(self, access_token: str) -> Mapping[str, Callable[[], object]]:
        """Returns a call of each service with a token."""
        stubs = {
            "user": (UserServiceStub(self.channel).GetMe, GetMeRequest()),
            "payment": (CreditServiceStub(self.channel).GetBalance, GetBalanceRequest()),
            "generation": (GenerationServiceStub(self.channel).ListJobs, ListJobsRequest()),
            "gallery": (BoardServiceStub(self.channel).ListBoards, ListBoardsRequest()),
            "models": (ModelServiceStub(self.channel).ListModels, ListModelsRequest()),
        }
        metadata = (("authorization", f"Bearer {access_token}"),)

        def call(method: Callable[..., object], request: object) -> Callable[[], object]:
            return lambda: method(request, metadata=metadata, timeout=SECONDS)

        return {area: call(method, request) for area, (method, request) in stubs.items()}

    def assert_welcome(self, access_token: str) -> None:
        for area, call in self.calls(access_token).items():
            answer = answer_or_refusal(call)
            assert not isinstance(answer, Exception), f"{area}: {answer}"

    def rotate(self, *options: str) -> str:
        """Runs the command as the operator would, and returns the name of the key that signs from now on."""
        command = ("-m", "studio.cli.main", "admin", "rotate-keys", *options)
        done = subprocess.run(
            [sys.executable, *command, "--data-dir", str(self.fleet.layout.data_dir)],
            capture_output=True,
            text=True,
            timeout=4 * SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[2]

    def until_signed_by(self, kid: str) -> TokenPair:
        """Signs in until a key signs."""
        found: list[TokenPair] = []

        def is_signed() -> bool:
            found.append(self.sign_in())
            return kid_of(found[-1]) == kid

        until(is_signed, f"the key {kid} signs")
        return found[-1]

    def published(self) -> set[str]:
        """Returns the names of the published keys, which edge and bridge must give alike."""
        sets = [
            {key["kid"] for key in httpx.get(f"{origin}/.well-known/jwks.json", timeout=SECONDS).json()["keys"]}
            for origin in (self.fleet.http, f"http://127.0.0.1:{self.fleet.layout.ports.bridge}")
        ]
        assert sets[0] == sets[1]
        return sets[0]


def kid_of(tokens: TokenPair) -> str:
    return str(jwt.get_unverified_header(tokens.access_token)["kid"])


@pytest.fixture(scope="module")
def kim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kim]:
    with (
        Fleet(
            tmp_path_factory.mktemp("rotation"),
            workers=0,
            settings={"LOGIN_BURST": "100000", "ACCOUNT_LIMIT_FACTOR": "1000"},
        ) as fleet,
        grpc.insecure_channel(fleet.grpc) as channel,
    ):
        AuthServiceStub(channel).Register(RegisterRequest(email=EMAIL, password=PASSWORD), timeout=SECONDS)
        yield Kim(fleet, channel)


def processes(fleet: Fleet) -> dict[str, int | None]:
    names = ("envoy", "edge_http", "svc_user", "svc_payment", "svc_generation", "svc_gallery", "svc_models")
    return {name: fleet.process(name).pid for name in names}


def until_edge_has_all_keys(fleet: Fleet) -> None:
    """Waits until Envoy checks tokens with what is published now."""
    kids = {key["kid"] for key in json.loads(fleet.secrets.user_jwks.read_bytes())["keys"]}
    transport = httpx.HTTPTransport(uds=str(fleet.layout.edge_admin))
    with httpx.Client(base_url="http://envoy", transport=transport, timeout=SECONDS) as admin:
        until(
            lambda: all(kid in admin.get("/config_dump?resource=ecds_filters").text for kid in kids),
            "the edge has every key",
        )


def test_nobody_notices_rotations(kim: Kim) -> None:
    before = processes(kim.fleet)
    former = kim.sign_in()
    refusals: list[object] = []
    calls = 0
    done = threading.Event()

    def keep_calling() -> None:
        nonlocal calls
        while not done.is_set():
            for call in kim.calls(kim.sign_in().access_token).values():
                answer = answer_or_refusal(call)
                calls += 1
                if isinstance(answer, Exception):
                    refusals.append(answer)

    caller = threading.Thread(target=keep_calling)
    caller.start()
    try:
        # The second one promotes a key that was published a moment ago.
        for _ in range(2):
            kid = kim.rotate()
            until_edge_has_all_keys(kim.fleet)
            kim.assert_welcome(kim.until_signed_by(kid).access_token)
            reached = calls + 10
            until(lambda reached=reached: calls >= reached, "more calls went through")
    finally:
        done.set()
        caller.join()

    assert refusals == []
    kim.assert_welcome(former.access_token)
    kim.assert_welcome(kim.refresh(former).access_token)
    # The former one, the one between, the present one and the next one.
    published = kim.published()
    assert {kid_of(former), kid} < published
    assert len(published) == 4
    assert processes(kim.fleet) == before


def test_compromised_key_is_given_up_at_once_and_clients_get_new_tokens(kim: Kim) -> None:
    before = processes(kim.fleet)
    stolen = SigningKey.from_file(kim.fleet.secrets.user_signing_key)
    mine = kim.sign_in()
    account_id = new_id()
    forged = AccessTokenIssuer(stolen, "https://pingvas.studio", "pingvas-api", ACCESS_TOKEN_LIFETIME).issue(
        account_id, account_id, new_id(), now()
    )
    # Known to every service as good.
    kim.assert_welcome(mine.access_token)
    old = kim.published()

    kid = kim.rotate("--compromised")
    until_edge_has_all_keys(kim.fleet)

    for token in (mine.access_token, forged):
        for area, call in kim.calls(token).items():
            until(lambda call=call: isinstance(answer_or_refusal(call), Exception), f"svc_{area} refuses the key")
            assert refusal_of(call).reason is Reason.TOKEN_EXPIRED
    until(lambda: not kim.published() & old, "no former key is published")
    kim.until_signed_by(kid)
    kim.assert_welcome(kim.refresh(mine).access_token)
    assert processes(kim.fleet) == before
