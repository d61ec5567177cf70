"""Measures what the faces of one call cost: gRPC and JSON through Envoy, and JSON from the bridge itself.

The call is ListModels, which svc_models answers from memory, so that most of the work is that of the faces. Each arm keeps as
many calls in flight as it has callers; the arms take turns. Rates are calls for each second of CPU time that the
edge's processes and the service have used: what the load generator takes from the machine doesn't count.

`python -m bench.edge [--json] [--seconds S] [--rounds N]`.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

import aiohttp
import grpc.aio
from pingvas.models.v1 import model_service_pb2

from bench.platform import Accounts, CpuMeter, platform

METHOD: Final = "/pingvas.models.v1.ModelService/ListModels"
PATH: Final = "/api/v1/models"
ENVOY, BRIDGE, SERVICE = "envoy", "edge_http", "svc_models"
_IN_FLIGHT: Final = 32
_WARM_UP_SECONDS: Final = 1.0

Call = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Result:
    """What the rounds found, as medians: calls a second of CPU time, and the ratio of the two ways through Envoy."""

    grpc_per_cpu_second: float
    json_per_cpu_second: float
    json_over_grpc: float
    bridge_per_cpu_second: float
    """Of the bridge's own time alone: the service's part is the same behind every face."""


async def load(call: Call, seconds: float) -> int:
    """Makes calls for so long and returns how many."""
    until, count = time.monotonic() + seconds, 0

    async def caller() -> None:
        nonlocal count
        while time.monotonic() < until:
            await call()
            count += 1

    await asyncio.gather(*(caller() for _ in range(_IN_FLIGHT)))
    return count


async def per_cpu_second(call: Call, seconds: float, meter: CpuMeter, names: tuple[str, ...]) -> float:
    """Returns how many calls there are for each second of CPU time of the named processes."""
    before = meter.read()
    count = await load(call, seconds)
    after = meter.read()
    return count / sum(after[name] - before[name] for name in names)


def get(session: aiohttp.ClientSession, address: str) -> Call:
    """Returns a call in JSON."""

    async def call() -> None:
        async with session.get(address) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{address} answered {answer.status}: {body[:500]!r}")

    return call


async def measure(seconds: float, rounds: int) -> Result:
    """Runs the arms in turns on one fleet."""
    with platform(workers=0) as fleet:
        accounts = Accounts(fleet, 1)
        (metadata,) = accounts.metadata
        meter = CpuMeter(fleet, (ENVOY, BRIDGE, SERVICE))
        body = model_service_pb2.ListModelsRequest().SerializeToString()
        async with (
            grpc.aio.insecure_channel(fleet.grpc) as channel,
            aiohttp.ClientSession(headers=dict(metadata)) as session,
        ):
            # Messages stay bytes: the client's work isn't what is measured.
            stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

            async def native() -> None:
                await stub(body, metadata=metadata)

            arms: Mapping[str, tuple[Call, tuple[str, ...]]] = {
                "grpc": (native, (ENVOY, SERVICE)),
                "json": (get(session, f"{fleet.http}{PATH}"), (ENVOY, SERVICE)),
                "bridge": (get(session, f"http://{fleet.process(BRIDGE).address}{PATH}"), (BRIDGE,)),
            }
            for call, _ in arms.values():
                await load(call, _WARM_UP_SECONDS)
            rates: dict[str, list[float]] = {arm: [] for arm in arms}
            for _ in range(rounds):
                for arm, (call, names) in arms.items():
                    rates[arm].append(await per_cpu_second(call, seconds, meter, names))
    ratios = [ours / native for ours, native in zip(rates["json"], rates["grpc"], strict=True)]
    return Result(
        grpc_per_cpu_second=round(statistics.median(rates["grpc"]), 1),
        json_per_cpu_second=round(statistics.median(rates["json"]), 1),
        json_over_grpc=round(statistics.median(ratios), 3),
        bridge_per_cpu_second=round(statistics.median(rates["bridge"]), 1),
    )


def main() -> None:
    """Prints a table, or one JSON document with --json."""
    parser = argparse.ArgumentParser(description="What the faces of one call cost.")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long an arm runs in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(measure(options.seconds, options.rounds))
    if options.json:
        print(json.dumps(asdict(result)))
        return
    print(f"gRPC through Envoy {result.grpc_per_cpu_second:g} calls for each second of CPU time")
    print(f"JSON through Envoy {result.json_per_cpu_second:g}, {result.json_over_grpc:g} times as many; goal: 0.8")
    print(f"JSON from the bridge {result.bridge_per_cpu_second:g} for each second of its own; goal: 1,000")


if __name__ == "__main__":
    main()
