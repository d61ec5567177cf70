"""Makes the tokens that must not pass: each is right but for one thing."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from svc_common.clock import new_id, now
from svc_common.tokens import ACCESS_TOKEN_TYPE, AccessTokenIssuer, ServiceCredential, SigningKey
from tests.harness_service import AUDIENCE, ISSUER, Identities

Bearer = tuple[tuple[str, str], ...]


def bearer(token: str) -> Bearer:
    """Returns the header, or metadata, with a token."""
    return (("authorization", f"Bearer {token}"),)


def expired(identities: Identities) -> str:
    """Returns a token whose life is over."""
    return _issue(identities, ISSUER, AUDIENCE, age=timedelta(hours=1))


def of_other_audience(identities: Identities) -> str:
    """Returns a token that is meant for another platform's API."""
    return _issue(identities, ISSUER, "another-api")


def expired_service_token(identities: Identities, service: str) -> str:
    """Returns a credential of a service whose life is over."""
    key_file = identities.key_file(service)
    hour_ago = time.time() - 3600
    return ServiceCredential(service, SigningKey.from_file(key_file, kid=service), clock=lambda: hour_ago).token()


def of_other_issuer(identities: Identities) -> str:
    """Returns a token that says it comes from elsewhere."""
    return _issue(identities, "https://elsewhere.example", AUDIENCE)


def unsigned(identities: Identities) -> str:
    """Returns a token with `alg: none`."""
    return f"{_part({'alg': 'none', 'typ': ACCESS_TOKEN_TYPE})}.{_part(_claims(identities))}."


def signed_with_public_key(identities: Identities) -> str:
    """Returns a token signed HS256 with the public key as the secret, which fools verifiers that believe `alg`."""
    private_key = load_pem_private_key(identities.user_key_file.read_bytes(), password=None)
    secret = private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    kid = SigningKey.from_file(identities.user_key_file).kid
    signed = f"{_part({'alg': 'HS256', 'typ': ACCESS_TOKEN_TYPE, 'kid': kid})}.{_part(_claims(identities))}"
    return f"{signed}.{_base64url(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def tampered(identities: Identities) -> str:
    """Returns a token whose claims were changed after it was signed."""
    header, _, signature = _issue(identities, ISSUER, AUDIENCE).split(".")
    return f"{header}.{_part(_claims(identities) | {'tid': str(new_id())})}.{signature}"


def without_expiry(identities: Identities) -> str:
    """Returns a token that would live for ever."""
    claims = {name: value for name, value in _claims(identities).items() if name != "exp"}
    return SigningKey.from_file(identities.user_key_file).sign(claims, ACCESS_TOKEN_TYPE)


def _issue(identities: Identities, issuer: str, audience: str, *, age: timedelta = timedelta(0)) -> str:
    key = SigningKey.from_file(identities.user_key_file)
    user_id = new_id()
    return AccessTokenIssuer(key, issuer, audience, timedelta(minutes=10)).issue(
        user_id, user_id, new_id(), now() - age
    )


def _claims(identities: Identities) -> dict[str, Any]:
    claims = _issue(identities, ISSUER, AUDIENCE).split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return decoded


def _part(document: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(document).encode())


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
