"""Puts svc_payment together from its settings and runs it: `python -m svc_payment.main`."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from pingvas.payment.v1.credit_service_pb2_grpc import add_CreditServiceServicer_to_server
from pingvas.payment.v1.ledger_service_pb2_grpc import add_LedgerServiceServicer_to_server
from redis.asyncio import Redis
from redis.exceptions import RedisError

from svc_common import redis_client
from svc_common.db import Database
from svc_common.events import ENTITLEMENT_CHANGED
from svc_common.paging import PageTokens
from svc_common.server import Server, run
from svc_common.settings import ServiceSettings, load
from svc_common.sweeps import run_sweeps
from svc_payment import tasks
from svc_payment.servicer.credits import CreditServicer
from svc_payment.servicer.ledger import LedgerServicer

SERVICE_NAME: Final = "svc_payment"

_log: Final = structlog.get_logger("payment")


def compose(settings: ServiceSettings) -> Server:
    """Returns the service with its parts; connects to nothing yet."""
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    tasks_database = Database(settings.tasks_database_url, pool_size=2)
    redis = redis_client.connect(settings.redis_url)
    page_tokens = PageTokens.derived_from(settings.service_key_file.read_bytes())
    credit_servicer = CreditServicer(database=database, page_tokens=page_tokens)
    ledger_servicer = LedgerServicer(
        database=database,
        tasks_database=tasks_database,
        announce_entitlement=entitlement_announcer(redis),
        page_tokens=page_tokens,
    )
    return Server(
        settings,
        SERVICE_NAME,
        public=[(add_CreditServiceServicer_to_server, credit_servicer)],
        internal=[(add_LedgerServiceServicer_to_server, ledger_servicer)],
        background=[partial(run_sweeps, tasks_database, tasks.sweeps(tasks_database))],
        on_stop=[redis.aclose, database.close, tasks_database.close],
    )


def entitlement_announcer(redis: Redis) -> Callable[[UUID], Awaitable[None]]:
    """Returns a function that tells caches which account's tier changed.

    It is a hint that may be lost: caches forget by themselves after a few seconds, so a Redis that is away fails
    nobody's call.
    """

    async def announce(account_id: UUID) -> None:
        try:
            await redis.publish(ENTITLEMENT_CHANGED, str(account_id))
        except (RedisError, OSError) as error:
            _log.warning("entitlement.announcement_lost", account_id=str(account_id), error=str(error))

    return announce


def main() -> None:
    """Runs the service until it is told to stop."""
    settings = load(ServiceSettings)
    run(settings, lambda: compose(settings))


if __name__ == "__main__":
    main()
