"""Puts svc_generation together from its settings and runs it: `python -m svc_generation.main`."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from grpc_health.v1.health import aio as health
from pingvas.generation.v1.account_event_service_pb2_grpc import add_AccountEventServiceServicer_to_server
from pingvas.generation.v1.generation_admin_service_pb2_grpc import add_GenerationAdminServiceServicer_to_server
from pingvas.generation.v1.generation_service_pb2_grpc import add_GenerationServiceServicer_to_server
from pingvas.generation.v1.job_data_service_pb2_grpc import add_JobDataServiceServicer_to_server
from pingvas.generation.v1.job_erasure_service_pb2_grpc import add_JobErasureServiceServicer_to_server
from pingvas.generation.v1.model_use_service_pb2_grpc import add_ModelUseServiceServicer_to_server
from pingvas.generation.v1.operator_service_pb2_grpc import add_OperatorServiceServicer_to_server
from pingvas.generation.v1.recipe_service_pb2_grpc import add_RecipeServiceServicer_to_server
from pingvas.generation.v1.usage_service_pb2_grpc import add_UsageServiceServicer_to_server
from pingvas.generation.v1.webhook_endpoint_service_pb2_grpc import add_WebhookEndpointServiceServicer_to_server
from pingvas.user.v1.user_directory_service_pb2_grpc import UserDirectoryServiceStub
from pingvas.worker.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server

from svc_common import clock
from svc_common.administration import AdministrationLog
from svc_common.client_address import ClientAddresses
from svc_common.concurrency import until_set
from svc_common.interceptors.registration import Registration
from svc_common.server import Background, Server, run
from svc_common.settings import load
from svc_common.sweeps import run_sweeps
from svc_generation.messages.webhooks import body_of, secret_text
from svc_generation.parts import SERVICE_NAME, Parts, new_webhook_secret
from svc_generation.servicer.account_data import JobDataServicer
from svc_generation.servicer.account_events import AccountEventServicer
from svc_generation.servicer.administration import GenerationAdminServicer
from svc_generation.servicer.erasure import JobErasureServicer
from svc_generation.servicer.generation import GenerationServicer
from svc_generation.servicer.model_use import ModelUseServicer
from svc_generation.servicer.operator import OperatorServicer
from svc_generation.servicer.recipes import RecipeServicer
from svc_generation.servicer.usage import UsageServicer
from svc_generation.servicer.watch import HEARTBEAT_SECONDS, Watch
from svc_generation.servicer.webhooks import WebhookEndpointServicer
from svc_generation.servicer.worker import WorkerServicer
from svc_generation.settings import GenerationSettings
from svc_generation.tasks.queue_figures import show_queue
from svc_generation.tasks.sweeps import Sweeper, settle_noted_holds
from svc_generation.tasks.webhook_sweeps import WebhookSweeps
from svc_generation.usecases.artifacts import Artifacts
from svc_generation.usecases.erasing import JobEraser
from svc_generation.usecases.requeueing import Requeuer
from svc_generation.usecases.webhooks.delivering import Deliverer
from svc_generation.usecases.webhooks.sending import Sender


def compose(
    settings: GenerationSettings, parts: Parts | None = None, *, heartbeat_seconds: float = HEARTBEAT_SECONDS
) -> Server:
    """Returns the service, of parts that the caller wants to look into or of its own. Called within the event loop."""
    parts = parts or Parts(settings)
    operator = OperatorServicer(
        database=parts.tasks,
        queue=parts.queue,
        presence=parts.presence,
        publisher=parts.publisher,
        page_tokens=parts.page_tokens,
        now=clock.now,
    )
    health_servicer = health.HealthServicer()
    return Server(
        settings,
        SERVICE_NAME,
        public=[*_account_services(parts, heartbeat_seconds), _administration(parts, operator)],
        internal=[
            _worker_service(parts),
            *_internal_services(parts),
            (add_OperatorServiceServicer_to_server, operator),
        ],
        background=[*_background(parts), partial(show_queue, parts.queue, parts.presence, health_servicer.set)],
        on_start=[partial(parts.waits.recall, parts.tasks), *([parts.scaler.start] if parts.scaler else [])],
        on_drain=[parts.hub.close, *([parts.scaler.stop] if parts.scaler else [])],
        on_stop=[parts.close],
        capacity=parts.capacity,
        limits=parts.limits,
        health_servicer=health_servicer,
    )


def _account_services(parts: Parts, heartbeat_seconds: float) -> Sequence[Registration]:
    """Returns the services that accounts call for themselves."""
    watch = Watch(
        database=parts.requests,
        hub=parts.hub,
        publisher=parts.publisher,
        converter=parts.converter,
        waits=parts.waits,
        heartbeat_seconds=heartbeat_seconds,
    )
    generation = GenerationServicer(
        database=parts.requests,
        lookups=parts.lookups,
        planner=parts.planner,
        acceptor=parts.acceptor,
        canceller=parts.canceller,
        waits=parts.waits,
        queue=parts.queue,
        converter=parts.converter,
        watch=watch,
        page_tokens=parts.page_tokens,
    )
    webhook_endpoints = WebhookEndpointServicer(
        database=parts.requests,
        page_tokens=parts.page_tokens,
        now=clock.now,
        new_id=clock.new_id,
        new_secret=new_webhook_secret,
        allows_private=parts.settings.webhooks_to_private_addresses,
    )
    return [
        (add_GenerationServiceServicer_to_server, generation),
        (add_RecipeServiceServicer_to_server, RecipeServicer(parts.lookups)),
        (add_UsageServiceServicer_to_server, UsageServicer(parts.requests, clock.now)),
        (add_WebhookEndpointServiceServicer_to_server, webhook_endpoints),
    ]


def _administration(parts: Parts, operator: OperatorServicer) -> Registration:
    addresses = ClientAddresses.from_file(parts.settings.edge_secret_file)
    administration = GenerationAdminServicer(
        operator=operator,
        database=parts.tasks,
        requeuer=Requeuer(database=parts.tasks, offering=parts.offering, announcer=parts.announcer, now=clock.now),
        pauses=parts.pauses,
        log=AdministrationLog(UserDirectoryServiceStub(parts.users), addresses),
    )
    return add_GenerationAdminServiceServicer_to_server, administration


def _worker_service(parts: Parts) -> Registration:
    worker = WorkerServicer(
        database=parts.tasks,
        lookups=parts.lookups,
        artifacts=Artifacts(parts.objects),
        waits=parts.waits,
        pauses=parts.pauses,
        offering=parts.offering,
        finalizer=parts.finalizer,
        announcer=parts.announcer,
        now=clock.now,
        new_id=clock.new_id,
    )
    return add_WorkerServiceServicer_to_server, worker


def _internal_services(parts: Parts) -> Sequence[Registration]:
    """Returns what other services call."""
    eraser = JobEraser(database=parts.tasks, canceller=parts.canceller)
    account_data = JobDataServicer(database=parts.requests, page_tokens=parts.page_tokens, converter=parts.converter)
    return [
        (add_JobErasureServiceServicer_to_server, JobErasureServicer(eraser)),
        (add_JobDataServiceServicer_to_server, account_data),
        (add_ModelUseServiceServicer_to_server, ModelUseServicer(parts.requests)),
        (add_AccountEventServiceServicer_to_server, AccountEventServicer(parts.requests, clock.now)),
    ]


def _background(parts: Parts) -> Sequence[Background]:
    """Returns the sweeps, and what runs as long as the service."""
    sweeper = Sweeper(
        database=parts.tasks,
        queue=parts.queue,
        objects=parts.objects,
        finalizer=parts.finalizer,
        canceller=parts.canceller,
        holds=parts.holds,
        pauses=parts.pauses,
        now=clock.now,
        lease=timedelta(seconds=parts.settings.lease_seconds),
    )
    webhook_sweeps = WebhookSweeps(
        database=parts.tasks, history=parts.publisher.history, now=clock.now, new_id=clock.new_id
    )
    deliverer = Deliverer(
        database=parts.tasks,
        sender=Sender(allows_private=parts.settings.webhooks_to_private_addresses),
        body_of=partial(body_of, converter=parts.converter),
        secret_text=secret_text,
        now=clock.now,
    )
    return [
        partial(run_sweeps, parts.tasks, (*sweeper.sweeps(), *webhook_sweeps.sweeps())),
        deliverer.run,
        partial(settle_noted_holds, parts.holds),
        partial(until_set, work=parts.hub.run),
    ]


def main() -> None:
    """Serves until SIGTERM."""
    settings = load(GenerationSettings)
    run(settings, partial(compose, settings))


if __name__ == "__main__":
    main()
