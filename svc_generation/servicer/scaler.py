"""Tells KEDA how many workers there shall be: its external scaler, on a listener of its own.

KEDA has no credential of ours, and what it hears is one number; who may reach the port is the network policies' business.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from keda import externalscaler_pb2 as keda
from keda.externalscaler_pb2_grpc import ExternalScalerServicer, add_ExternalScalerServicer_to_server

from svc_common.errors import ServiceError
from svc_common.redis_client import REDIS_ERRORS
from svc_generation.usecases.worker_demand import Wanted, WorkerDemand

METRIC: Final = "workers"
_LOOK_SECONDS: Final = 0.5
"""How soon a first job is pushed to KEDA; starting a node takes a minute at least."""

_log: Final = structlog.get_logger(__name__)


class ScalerServicer(ExternalScalerServicer):
    """Implements KEDA's externalscaler.ExternalScaler."""

    def __init__(self, demand: WorkerDemand, stopping: asyncio.Event) -> None:
        """Takes what measures, and what ends the streams."""
        self._demand = demand
        self._stopping = stopping

    async def IsActive(
        self, _request: keda.ScaledObjectRef, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> keda.IsActiveResponse:
        """Tells whether there shall be any worker."""
        return keda.IsActiveResponse(result=(await self._wanted(context)).is_active)

    async def StreamIsActive(
        self, _request: keda.ScaledObjectRef, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[keda.IsActiveResponse]:
        """Tells it now, and again when it changes."""
        told: bool | None = None
        while not self._stopping.is_set():
            is_active = (await self._wanted(context)).is_active
            if is_active != told:
                told = is_active
                yield keda.IsActiveResponse(result=is_active)
            await asyncio.sleep(_LOOK_SECONDS)

    async def GetMetricSpec(
        self, _request: keda.ScaledObjectRef, _context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> keda.GetMetricSpecResponse:
        """Names the metric: a number of workers, of which each replica is one."""
        spec = keda.MetricSpec(metricName=METRIC, targetSize=1, targetSizeFloat=1.0)
        return keda.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(
        self, request: keda.GetMetricsRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> keda.GetMetricsResponse:
        """Tells how many workers there shall be."""
        workers = (await self._wanted(context)).workers
        value = keda.MetricValue(
            metricName=request.metricName or METRIC, metricValue=workers, metricValueFloat=float(workers)
        )
        return keda.GetMetricsResponse(metricValues=[value])

    async def _wanted(self, context: "grpc.aio.ServicerContext[Any, Any]") -> Wanted:
        try:
            return await self._demand.wanted()
        except (ServiceError, *REDIS_ERRORS) as error:
            _log.warning("scaler.cannot_measure", error=str(error))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the queue can't be measured now")


class ScalerListener:
    """The gRPC server that KEDA calls."""

    def __init__(self, demand: WorkerDemand, address: str) -> None:
        """Takes the address as host:port."""
        self._address = address
        self._stopping = asyncio.Event()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_ExternalScalerServicer_to_server(ScalerServicer(demand, self._stopping), self._server)
        self.port = 0

    async def start(self) -> None:
        """Begins to serve; raises RuntimeError when the address is taken."""
        self.port = self._server.add_insecure_port(self._address)
        await self._server.start()

    async def stop(self) -> None:
        """Ends the streams and stops."""
        self._stopping.set()
        await self._server.stop(2 * _LOOK_SECONDS)
