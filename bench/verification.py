"""Measures what the check of a credential adds to a call: a method for users beside one that anybody may call.

Both run through every interceptor of one server, and their handlers answer with an empty message. Four credentials take
turns with no credential, call by call: a session's token and an API key's, each as a service sees it for the first time, and
again. The edge exchanges an API key for such a token twice a minute, so that a call with a key costs what one with its token
does. The reported times are differences of medians.

`python -m bench.verification [--json] [--rounds N]`.
"""

import argparse
import asyncio
import json
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.message import Message
from pingvas.user.v1 import auth_service_pb2, auth_service_pb2_grpc, user_pb2, user_service_pb2, user_service_pb2_grpc

from svc_common.api_keys import KeyLimits
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.registration import Listener, register
from svc_common.key_sets import KeySet
from svc_common.tokens import AccessTokenIssuer, AccessTokens, ServiceTokens, SigningKey

ISSUER, AUDIENCE = "https://bench.example", "bench"
ROUNDS: Final = 2_000
WARM_UP: Final = 200
ARMS: Final = ("none", "token again", "token anew", "key again", "key anew")

AUTH, USERS = auth_service_pb2_grpc.AuthServiceServicer, user_service_pb2_grpc.UserServiceServicer


def answering(servicer: type, answer: Message) -> Any:
    """Returns a servicer whose every method gives one answer."""

    async def handle(_self: object, _request: object, _context: object) -> Message:
        return answer

    methods = [name for name in vars(servicer) if not name.startswith("_")]
    return type(servicer.__name__, (servicer,), dict.fromkeys(methods, handle))()


class Tokens:
    """Issues tokens as svc_user does."""

    def __init__(self, key: SigningKey) -> None:
        self._issuer = AccessTokenIssuer(key, ISSUER, AUDIENCE, timedelta(minutes=10))

    def of_session(self) -> str:
        """Returns a session's token."""
        user = uuid4()
        return self._issuer.issue(user, user, uuid4(), datetime.now(UTC))

    def of_key(self) -> str:
        """Returns an API key's token, with every kind of limit."""
        user = uuid4()
        limits = KeyLimits("0" * 22, 1_000_000, 10_000_000, frozenset({"tiny", "sd15"}), 512)
        return self._issuer.issue(user, user, uuid4(), datetime.now(UTC), scopes=["read"], key=limits)


async def measure(rounds: int) -> dict[str, float]:
    """Returns the median of each arm's calls, in milliseconds."""
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = SigningKey(pem)
    keys = KeySet({"keys": [key.jwk]})
    server = grpc.aio.server()
    register(
        server,
        [
            (auth_service_pb2_grpc.add_AuthServiceServicer_to_server, answering(AUTH, auth_service_pb2.JwkSet())),
            (user_service_pb2_grpc.add_UserServiceServicer_to_server, answering(USERS, user_pb2.User())),
        ],
        Listener.PUBLIC,
        Verifiers(AccessTokens(keys, ISSUER, AUDIENCE), ServiceTokens(keys)),
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        medians = await _take_turns(channel, Tokens(key), rounds)
    await server.stop(None)
    return medians


async def _take_turns(channel: grpc.aio.Channel, tokens: Tokens, rounds: int) -> dict[str, float]:
    anybody = auth_service_pb2_grpc.AuthServiceStub(channel).GetJwks
    users = user_service_pb2_grpc.UserServiceStub(channel).GetMe
    session, api_key = tokens.of_session(), tokens.of_key()
    samples: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for number in range(WARM_UP + rounds):
        # Made beforehand: signing isn't what is measured.
        shown = {
            "token again": session,
            "token anew": tokens.of_session(),
            "key again": api_key,
            "key anew": tokens.of_key(),
        }
        for arm in ARMS[number % len(ARMS) :] + ARMS[: number % len(ARMS)]:
            begin = time.perf_counter()
            if arm == "none":
                await anybody(auth_service_pb2.GetJwksRequest())
            else:
                metadata = (("authorization", f"Bearer {shown[arm]}"),)
                await users(user_service_pb2.GetMeRequest(), metadata=metadata)
            if number >= WARM_UP:
                samples[arm].append(1000 * (time.perf_counter() - begin))
    return {arm: statistics.median(found) for arm, found in samples.items()}


def figures(medians: dict[str, float]) -> dict[str, float]:
    """Returns what each credential adds to a call, in milliseconds."""
    added = {f"{arm.replace(' ', '_')}_ms": round(medians[arm] - medians["none"], 4) for arm in ARMS[1:]}
    return {"call_ms": round(medians["none"], 4), **added}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="calls with each credential")
    options = parser.parse_args()
    found = figures(asyncio.run(measure(options.rounds)))
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<16} {value:>8.3f}")


if __name__ == "__main__":
    main()
