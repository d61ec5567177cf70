"""Signed tokens: users' access tokens and the short-lived credentials that services show one another.

Both are JWTs signed with ES256, so that who can verify can't mint. The algorithm is fixed here and never read from a
token; headers that name keys elsewhere (jku, x5u, jwk) are ignored. Who may call what is left to the authorization
interceptor.
"""

import asyncio
import base64
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.utils import base64url_decode

from svc_common.account_roles import AccountRole
from svc_common.api_keys import KeyLimits
from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError
from svc_common.key_sets import KeySet

ALGORITHM: Final = "ES256"
ACCESS_TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - the name of a type, from RFC 9068
SERVICE_TOKEN_TYPE: Final = "service+jwt"  # noqa: S105 - as above
SERVICE_AUDIENCE: Final = "pingvas-internal"

_SERVICE_TOKEN_LIFE: Final = timedelta(seconds=60)
# A credential is replaced while it still has this much life, so that a call that waits in a queue doesn't arrive with a
# dead one.
_SERVICE_TOKEN_RENEWAL: Final = timedelta(seconds=20)
# Tolerates clocks of two machines that NTP keeps within a second or two.
_LEEWAY_SECONDS: Final = 5.0
_VERIFIED_TOKENS_KEPT: Final = 10_000

Jwk = dict[str, str]


def _base64url_uint(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode("ascii")


def _load_private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(  # noqa: TRY004 - what is wrong is the content of a file
            "the key isn't an EC key on the curve P-256; make one with `openssl ecparam -name prime256v1 -genkey -noout`"
        )
    return key


def jwk_thumbprint(jwk: Mapping[str, str]) -> str:
    """Returns the RFC 7638 thumbprint of an EC public key, base64url."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode("ascii")
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode("ascii")


def public_jwk(private_key_pem: bytes, kid: str | None = None) -> Jwk:
    """Returns the public half of a PEM private key as a JWK; `kid` defaults to the thumbprint."""
    numbers = _load_private_key(private_key_pem).public_key().public_numbers()
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": _base64url_uint(numbers.x),
        "y": _base64url_uint(numbers.y),
        "alg": ALGORITHM,
        "use": "sig",
    }
    return jwk | {"kid": kid or jwk_thumbprint(jwk)}


class SigningKey:
    """An EC P-256 private key that signs tokens, with the name that verifiers know it by."""

    def __init__(self, private_key_pem: bytes, kid: str | None = None) -> None:
        """Loads the key; `kid` defaults to the thumbprint. Raises ValueError when it isn't on P-256."""
        self._key = _load_private_key(private_key_pem)
        self.jwk: Final = public_jwk(private_key_pem, kid)
        self.kid: Final = self.jwk["kid"]

    @classmethod
    def from_file(cls, path: Path, kid: str | None = None) -> Self:
        """Loads the key from a PEM file."""
        return cls(path.read_bytes(), kid)

    def sign(self, claims: Mapping[str, Any], typ: str) -> str:
        """Returns the claims as a signed token of a type."""
        return jwt.encode(dict(claims), self._key, algorithm=ALGORITHM, headers={"kid": self.kid, "typ": typ})


def _invalid(cause: str) -> ServiceError:
    return ServiceError(
        Reason.TOKEN_INVALID, f"The token isn't valid ({cause}). Log in again.", metadata={"cause": cause}
    )


def token_expired() -> ServiceError:
    """Returns the refusal that makes clients get a new access token."""
    return ServiceError(
        Reason.TOKEN_EXPIRED, "The token has expired. Get a new one with AuthService.Refresh and repeat the call."
    )


# The most telling cause first: PyJWT's errors form a hierarchy.
_CAUSES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (jwt.InvalidAudienceError, "audience"),
    (jwt.InvalidIssuerError, "issuer"),
    (jwt.MissingRequiredClaimError, "claims"),
    (jwt.InvalidSignatureError, "signature"),
    (jwt.InvalidAlgorithmError, "algorithm"),
    (jwt.DecodeError, "malformed"),
)


def _header_of(token: str) -> dict[str, Any]:
    """Returns the header alone: PyJWT would decode the whole token, which it does once more when it checks the signature."""
    try:
        header = json.loads(base64url_decode(token.partition(".")[0].encode("ascii")))
    except (ValueError, RecursionError) as error:
        raise _invalid("malformed") from error
    if not isinstance(header, dict):
        raise _invalid("malformed")
    return header


def _decode(
    token: str, keys: KeySet, now: float, *, typ: str, audience: str, issuer: str | None
) -> tuple[str, dict[str, Any]]:
    """Returns the key's name and the claims of a token that holds in all but its expiry, which the caller checks."""
    try:
        header = _header_of(token)
        if header.get("typ") != typ:
            raise _invalid("type")
        if header.get("alg") != ALGORITHM:
            raise _invalid("algorithm")
        key = keys.find(header.get("kid"))
        if key is None:
            raise _invalid("key")
        if key.is_retired(now):
            raise token_expired()
        # Times are compared with the injected clock: expiry by the caller, the beginning below.
        options: Any = {
            "require": ["exp", "iss", "aud", "sub"],
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        }
        claims = jwt.decode(
            token, key.public_key, algorithms=[ALGORITHM], audience=audience, issuer=issuer, options=options
        )
    except jwt.PyJWTError as error:
        raise _invalid(next((cause for kind, cause in _CAUSES if isinstance(error, kind)), "malformed")) from error
    if "nbf" in claims and _seconds(claims, "nbf") > now + _LEEWAY_SECONDS:
        raise _invalid("not yet valid")
    return header["kid"], claims


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    """Returns a claim that is a time, in seconds since the epoch."""
    seconds = claims[name]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise _invalid("claims")
    return float(seconds)


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What an access token says: who calls, for which account, in which session, and until when.

    `scopes` and `key` are what the token of an API key is good for; None is a person's own session, which is good for
    everything that the role allows. `epoch` counts what ended all earlier tokens of the user.
    """

    user_id: UUID
    account_id: UUID
    session_id: UUID
    expire_time: datetime
    scopes: frozenset[str] | None = None
    role: AccountRole = AccountRole.USER
    epoch: int = 0
    withheld_role: AccountRole | None = None
    """The role that the user would have with a second factor."""
    key: KeyLimits | None = None


class AccessTokens:
    """Verifies users' access tokens.

    A verified token is remembered until it expires or the keys change: the check of an ES256 signature costs as much as the
    rest of a short call. That loses nothing: whether its user's tokens were revoked is asked at each call (`revocations`).
    """

    def __init__(self, keys: KeySet, issuer: str, audience: str, *, clock: Callable[[], float] = time.time) -> None:
        """Takes the keys, what `iss` and `aud` must say, and a clock in seconds since the epoch."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._verified: OrderedDict[str, tuple[float, AccessClaims]] = OrderedDict()
        keys.on_change(self._verified.clear)

    async def follow_keys(self, stop: asyncio.Event) -> None:
        """Takes up changes of the keys until `stop` is set."""
        await self._keys.follow(stop)

    def verify(self, token: str) -> AccessClaims:
        """Returns what the token says; raises ServiceError TOKEN_INVALID or TOKEN_EXPIRED."""
        known = self._verified.get(token)
        if known is None:
            known = self._verify_anew(token)
        elif self._clock() < known[0]:
            return known[1]
        if self._clock() >= known[0]:
            self._verified.pop(token, None)
            raise token_expired()
        self._remember(token, known)
        return known[1]

    def _verify_anew(self, token: str) -> tuple[float, AccessClaims]:
        _, claims = _decode(
            token, self._keys, self._clock(), typ=ACCESS_TOKEN_TYPE, audience=self._audience, issuer=self._issuer
        )
        expiry = _seconds(claims, "exp")
        try:
            ids = UUID(claims["sub"]), UUID(claims["tid"]), UUID(claims["sid"])
            expire_time = datetime.fromtimestamp(expiry, UTC)
            scopes = frozenset(claims["scope"].split()) if "scope" in claims else None
            role = AccountRole(claims.get("role", AccountRole.USER))
            epoch = int(claims.get("epoch", 0))
            withheld_role = AccountRole(claims["withheld_role"]) if "withheld_role" in claims else None
            key = KeyLimits.from_claim(claims["key"]) if "key" in claims else None
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
            raise _invalid("claims") from error
        said = AccessClaims(*ids, expire_time, scopes, role=role, epoch=epoch, withheld_role=withheld_role, key=key)
        return expiry + _LEEWAY_SECONDS, said

    def _remember(self, token: str, verified: tuple[float, AccessClaims]) -> None:
        self._verified[token] = verified
        if len(self._verified) > _VERIFIED_TOKENS_KEPT:
            self._verified.popitem(last=False)


class AccessTokenIssuer:
    """Mints users' access tokens. Only svc_user has the key for it."""

    def __init__(self, signing_key: SigningKey, issuer: str, audience: str, lifetime: timedelta) -> None:
        """Takes the key and what the tokens will say."""
        self._key = signing_key
        self._issuer = issuer
        self._audience = audience
        self.lifetime: Final = lifetime

    @property
    def kid(self) -> str:
        """The name of the key that signs at present."""
        return self._key.kid

    def sign_with(self, signing_key: SigningKey) -> None:
        """Signs with another key from now on, which verifiers must have by now."""
        self._key = signing_key

    def issue(
        self,
        user_id: UUID,
        account_id: UUID,
        session_id: UUID,
        now: datetime,
        *,
        scopes: Collection[str] | None = None,
        key: KeyLimits | None = None,
        lifetime: timedelta | None = None,
        role: AccountRole = AccountRole.USER,
        withheld_role: AccountRole | None = None,
        epoch: int = 0,
    ) -> str:
        """Returns an access token that lives from `now` for a lifetime, by default the usual one.

        With scopes (`scope` of RFC 8693, 4.2) it is an API key's and good for those only, within the limits of `key`. The epoch
        is the user's present one.
        """
        issued = int(now.timestamp())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "tid": str(account_id),
            "sid": str(session_id),
            "jti": str(new_id()),
            "iat": issued,
            "exp": issued + int((lifetime or self.lifetime).total_seconds()),
        }
        if scopes is not None:
            claims["scope"] = " ".join(sorted(scopes))
        if role is not AccountRole.USER:
            claims["role"] = role.value
        if withheld_role is not None:
            claims["withheld_role"] = withheld_role.value
        if epoch:
            claims["epoch"] = epoch
        if key is not None:
            claims["key"] = key.to_claim()
        return self._key.sign(claims, ACCESS_TOKEN_TYPE)


class ServiceCredential:
    """The identity that this process shows to other services: a token of 60 s, signed with its own key, made anew in time."""

    def __init__(self, name: str, key: SigningKey, *, clock: Callable[[], float] = time.time) -> None:
        """Takes the service's name, which must be the key's `kid` in the set that verifiers have."""
        self.name: Final = name
        self._key = key
        self._clock = clock
        self._tokens: dict[str, tuple[float, str]] = {}

    @classmethod
    def from_file(cls, name: str, path: Path) -> Self:
        """Loads the credential's key from a PEM file."""
        return cls(name, SigningKey.from_file(path, kid=name))

    def token(self, audience: str = SERVICE_AUDIENCE) -> str:
        """Returns a token with at least 20 s of life left."""
        now = self._clock()
        renewal, token = self._tokens.get(audience, (0.0, ""))
        if now < renewal:
            return token
        expiry = int(now) + int(_SERVICE_TOKEN_LIFE.total_seconds())
        claims = {"iss": self.name, "sub": self.name, "aud": audience, "iat": int(now), "exp": expiry}
        token = self._key.sign(claims, SERVICE_TOKEN_TYPE)
        self._tokens[audience] = (expiry - _SERVICE_TOKEN_RENEWAL.total_seconds(), token)
        return token


class ServiceTokens:
    """Verifies the credentials of other services; remembers each until it expires or the keys change."""

    def __init__(
        self, keys: KeySet, audience: str = SERVICE_AUDIENCE, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Takes the keys of all services, by name, and a clock in seconds since the epoch."""
        self._keys = keys
        self._audience = audience
        self._clock = clock
        self._verified: OrderedDict[str, tuple[float, str]] = OrderedDict()
        keys.on_change(self._verified.clear)

    async def follow_keys(self, stop: asyncio.Event) -> None:
        """Takes up changes of the keys until `stop` is set."""
        await self._keys.follow(stop)

    def verify(self, token: str) -> str:
        """Returns the name of the service that signed the token; raises ServiceError TOKEN_INVALID or TOKEN_EXPIRED."""
        known = self._verified.get(token) or self._verify_anew(token)
        if self._clock() >= known[0]:
            self._verified.pop(token, None)
            raise token_expired()
        self._verified[token] = known
        if len(self._verified) > _VERIFIED_TOKENS_KEPT:
            self._verified.popitem(last=False)
        return known[1]

    def _verify_anew(self, token: str) -> tuple[float, str]:
        name, claims = _decode(
            token, self._keys, self._clock(), typ=SERVICE_TOKEN_TYPE, audience=self._audience, issuer=None
        )
        # The key decides the name: a service can't speak in the name of another with its own key.
        if claims["iss"] != name or claims["sub"] != name:
            raise _invalid("issuer")
        return _seconds(claims, "exp") + _LEEWAY_SECONDS, name
