"""Access tokens and service credentials: what is accepted, and each way of being refused."""

import base64
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from svc_common.errors import Reason, ServiceError
from svc_common.key_sets import KeySet
from svc_common.tokens import (
    AccessTokenIssuer,
    AccessTokens,
    ServiceCredential,
    ServiceTokens,
    SigningKey,
    jwk_thumbprint,
    public_jwk,
)

ISSUER, AUDIENCE = "https://issuer.example", "api"
START = datetime(2026, 1, 1, tzinfo=UTC)
LIFETIME = timedelta(minutes=10)
USER, ACCOUNT, SESSION = uuid4(), uuid4(), uuid4()


def private_pem(curve: ec.EllipticCurve | None = None) -> bytes:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


PEM = private_pem()
KEY = SigningKey(PEM)
KEYS = KeySet({"keys": [KEY.jwk]})


class Clock:
    """A clock that stands until it is set, in seconds since the epoch."""

    def __init__(self) -> None:
        self.time = START.timestamp()

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> AccessTokens:
    return AccessTokens(KEYS, ISSUER, AUDIENCE, clock=clock)


def issue(key: SigningKey = KEY, *, issuer: str = ISSUER, audience: str = AUDIENCE) -> str:
    return AccessTokenIssuer(key, issuer, audience, LIFETIME).issue(USER, ACCOUNT, SESSION, START)


def claims(**changes: Any) -> dict[str, Any]:
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(USER),
        "tid": str(ACCOUNT),
        "sid": str(SESSION),
        "exp": int(START.timestamp()) + 600,
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def refusal(verify: Callable[[str], object], token: str) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        verify(token)
    return caught.value


def test_issued_token_says_who_calls(tokens: AccessTokens) -> None:
    verified = tokens.verify(issue())

    assert (verified.user_id, verified.account_id, verified.session_id) == (USER, ACCOUNT, SESSION)
    assert verified.expire_time == START + LIFETIME


def test_token_is_refused_after_its_life(tokens: AccessTokens, clock: Clock) -> None:
    token = issue()
    clock.time += LIFETIME.total_seconds() + 6

    assert refusal(tokens.verify, token).reason is Reason.TOKEN_EXPIRED


def test_remembered_token_is_refused_after_its_life(tokens: AccessTokens, clock: Clock) -> None:
    token = issue()
    tokens.verify(token)
    clock.time += LIFETIME.total_seconds() + 6

    assert refusal(tokens.verify, token).reason is Reason.TOKEN_EXPIRED
    clock.time = START.timestamp()
    assert tokens.verify(token).user_id == USER


def test_signature_is_checked_once_for_a_token(clock: Clock) -> None:
    keys = KeySet({"keys": [KEY.jwk]})
    looked_up: list[object] = []
    find = keys.find
    keys.find = lambda kid: (looked_up.append(kid), find(kid))[1]  # type: ignore[method-assign]
    tokens = AccessTokens(keys, ISSUER, AUDIENCE, clock=clock)
    token = issue()

    for _ in range(3):
        tokens.verify(token)

    assert looked_up == [KEY.kid]


def test_token_is_refused_before_its_beginning(tokens: AccessTokens, clock: Clock) -> None:
    token = KEY.sign(claims(nbf=START.timestamp() + 60), "at+jwt")

    assert refusal(tokens.verify, token).metadata == {"cause": "not yet valid"}
    clock.time += 56  # as far as clocks may differ
    assert tokens.verify(token).user_id == USER


@pytest.mark.parametrize("beginning", ["soon", True, [1]])
def test_token_whose_beginning_is_no_time_is_refused(tokens: AccessTokens, beginning: object) -> None:
    assert refusal(tokens.verify, KEY.sign(claims(nbf=beginning), "at+jwt")).metadata == {"cause": "claims"}


def test_token_for_another_audience_is_refused(tokens: AccessTokens) -> None:
    assert refusal(tokens.verify, issue(audience="elsewhere")).metadata == {"cause": "audience"}


def test_token_of_another_issuer_is_refused(tokens: AccessTokens) -> None:
    assert refusal(tokens.verify, issue(issuer="https://elsewhere.example")).metadata == {"cause": "issuer"}


def test_token_signed_by_an_unknown_key_is_refused(tokens: AccessTokens) -> None:
    assert refusal(tokens.verify, issue(SigningKey(private_pem()))).metadata == {"cause": "key"}


def test_token_signed_by_another_key_under_a_known_name_is_refused(tokens: AccessTokens) -> None:
    assert refusal(tokens.verify, issue(SigningKey(private_pem(), kid=KEY.kid))).metadata == {"cause": "signature"}


def test_unsigned_token_is_refused(tokens: AccessTokens) -> None:
    token = jwt.encode(claims(), None, algorithm="none", headers={"kid": KEY.kid, "typ": "at+jwt"})

    assert refusal(tokens.verify, token).metadata == {"cause": "algorithm"}


def test_token_signed_with_the_public_key_as_a_shared_secret_is_refused(tokens: AccessTokens) -> None:
    public = load_pem_private_key(PEM, None).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = base64url(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": KEY.kid}).encode())
    body = base64url(json.dumps(claims()).encode())
    # Made by hand: PyJWT itself refuses to sign with a public key.
    signature = base64url(hmac.digest(public, f"{head}.{body}".encode(), "sha256"))

    assert refusal(tokens.verify, f"{head}.{body}.{signature}").metadata == {"cause": "algorithm"}


def test_key_named_in_the_token_itself_is_ignored(tokens: AccessTokens) -> None:
    attacker = SigningKey(private_pem())
    headers = {"typ": "at+jwt", "kid": attacker.kid, "jwk": attacker.jwk, "jku": "https://attacker.example/jwks"}
    token = jwt.encode(claims(), attacker._key, algorithm="ES256", headers=headers)

    assert refusal(tokens.verify, token).metadata == {"cause": "key"}


@pytest.mark.parametrize("typ", ["JWT", "service+jwt", "id+jwt"])
def test_token_of_another_type_is_refused(tokens: AccessTokens, typ: str) -> None:
    assert refusal(tokens.verify, KEY.sign(claims(), typ)).metadata == {"cause": "type"}


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "tid", "sid", "exp"])
def test_token_without_a_claim_is_refused(tokens: AccessTokens, claim: str) -> None:
    token = KEY.sign(claims(**{claim: None}), "at+jwt")

    assert refusal(tokens.verify, token).reason is Reason.TOKEN_INVALID


@pytest.mark.parametrize(
    "changes",
    [{"sub": "not-a-uuid"}, {"tid": "x"}, {"sid": ""}, {"exp": "soon"}, {"exp": True}, {"exp": 1e300}],
)
def test_token_with_a_claim_of_the_wrong_form_is_refused(tokens: AccessTokens, changes: dict[str, Any]) -> None:
    token = KEY.sign(claims(**changes), "at+jwt")

    assert refusal(tokens.verify, token).reason is Reason.TOKEN_INVALID


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.b", "ä.b.c", "." * 10, "a" * 5000])
def test_what_is_no_token_is_refused(tokens: AccessTokens, token: str) -> None:
    assert refusal(tokens.verify, token).reason is Reason.TOKEN_INVALID


def test_tampered_token_is_refused(tokens: AccessTokens) -> None:
    head, _, signature = issue().split(".")
    body = base64url(json.dumps(claims(sub=str(uuid4()))).encode())

    assert refusal(tokens.verify, f"{head}.{body}.{signature}").metadata == {"cause": "signature"}


def test_service_credential_proves_its_name(clock: Clock) -> None:
    verifier = ServiceTokens(KeySet({"keys": [public_jwk(PEM, "svc_payment")]}), clock=clock)
    credential = ServiceCredential("svc_payment", SigningKey(PEM, "svc_payment"), clock=clock)

    assert verifier.verify(credential.token()) == "svc_payment"


def test_service_credential_is_kept_until_shortly_before_its_end(clock: Clock) -> None:
    credential = ServiceCredential("svc_payment", SigningKey(PEM, "svc_payment"), clock=clock)
    first = credential.token()
    clock.time += 39
    assert credential.token() == first
    clock.time += 2

    assert credential.token() != first


def test_service_credential_is_refused_after_its_life(clock: Clock) -> None:
    verifier = ServiceTokens(KeySet({"keys": [public_jwk(PEM, "svc_payment")]}), clock=clock)
    token = ServiceCredential("svc_payment", SigningKey(PEM, "svc_payment"), clock=clock).token()
    verifier.verify(token)
    clock.time += 66

    assert refusal(verifier.verify, token).reason is Reason.TOKEN_EXPIRED


def test_service_cannot_speak_in_the_name_of_another(clock: Clock) -> None:
    other = SigningKey(private_pem(), "gpu_worker")
    verifier = ServiceTokens(KeySet({"keys": [public_jwk(PEM, "svc_payment"), other.jwk]}), clock=clock)
    token = ServiceCredential("svc_payment", other, clock=clock).token()

    assert refusal(verifier.verify, token).metadata == {"cause": "issuer"}


def test_access_token_is_no_service_credential(clock: Clock) -> None:
    verifier = ServiceTokens(KEYS, audience=AUDIENCE, clock=clock)

    assert refusal(verifier.verify, issue()).metadata == {"cause": "type"}


def test_service_credential_for_another_audience_is_refused(clock: Clock) -> None:
    verifier = ServiceTokens(KeySet({"keys": [public_jwk(PEM, "svc_payment")]}), clock=clock)
    credential = ServiceCredential("svc_payment", SigningKey(PEM, "svc_payment"), clock=clock)

    assert refusal(verifier.verify, credential.token("elsewhere")).metadata == {"cause": "audience"}


def test_thumbprint_is_that_of_rfc_7638() -> None:
    # A fixed P-256 key (RFC 7517, appendix A.1); the value was computed with another implementation of the RFC.
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    }

    assert jwk_thumbprint(jwk) == "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"


def test_key_on_another_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="P-256"):
        SigningKey(private_pem(ec.SECP384R1()))


def test_private_key_among_public_ones_is_refused() -> None:
    private = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(load_pem_private_key(PEM, None)))  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="private"):
        KeySet({"keys": [private | {"kid": "leaked"}]})


def test_user_id_is_a_uuid(tokens: AccessTokens) -> None:
    assert isinstance(tokens.verify(issue()).user_id, UUID)


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
