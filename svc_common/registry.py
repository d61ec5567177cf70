"""The services of the platform: one entry for each, from which everything that must know of all of them is computed.

Login roles and schemas, ports, secrets, processes, addresses in settings, network policies, and the lists that tests hold
against it. Which service may call which other is said by the contracts alone (`svc_common.contracts.neighbours_of`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Need(StrEnum):
    """What a service must be given beyond its databases, Redis, its own key, and the public keys of everybody."""

    PICTURES = "pictures"
    """The keys of the object store, for the bucket of pictures."""
    MODEL_FILES = "model files"
    """The keys of the object store, for the bucket of models, and the folders of models."""
    SIGNING_KEY = "signing key"
    """The key that signs users' access tokens."""
    MAIL = "mail"
    """The mail server, with its password."""
    PAYMENT_PROVIDERS = "payment providers"
    """The keys of payment providers, and the secrets of their webhooks."""


STORE_NEEDS: Final = frozenset({Need.PICTURES, Need.MODEL_FILES})
"""Who has one of these has the keys of the object store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service, by the area that its contracts, its package and its part of the database are named after."""

    area: str
    number: int
    """The last digit of its local ports, such as 8001, 8011 and 8101. 6 and 7 are those of the bridge and the payment
    provider's stand-in. Never given twice."""
    schema: str
    """The schema of its tables."""
    needs: frozenset[Need] = frozenset()
    also_serves: frozenset[str] = frozenset()
    """Areas of contracts that have no service of their own."""

    @property
    def name(self) -> str:
        """The name of its package and of its processes, and the one by which it calls others."""
        return f"svc_{self.area}"


SERVICES: Final[tuple[Service, ...]] = (
    # `user` is a reserved word in SQL.
    Service(area="user", number=1, schema="users", needs=frozenset({Need.PICTURES, Need.SIGNING_KEY, Need.MAIL})),
    Service(area="payment", number=2, schema="payment", needs=frozenset({Need.PAYMENT_PROVIDERS})),
    Service(
        area="generation",
        number=3,
        schema="generation",
        needs=frozenset({Need.PICTURES}),
        also_serves=frozenset({"worker"}),
    ),
    Service(area="gallery", number=4, schema="gallery", needs=frozenset({Need.PICTURES})),
    Service(area="models", number=5, schema="models", needs=frozenset({Need.PICTURES, Need.MODEL_FILES})),
)
AREAS: Final = tuple(service.area for service in SERVICES)

WORKER_NAME: Final = "gpu_worker"
BRIDGE_NAME: Final = "edge_http"
OPERATOR_NAME: Final = "operator"
CALLERS: Final = (*(service.name for service in SERVICES), WORKER_NAME, OPERATOR_NAME, BRIDGE_NAME)
"""Everybody who has a key with which to call internal listeners."""


def service_of(area: str) -> Service:
    """Returns the service that serves an area of the contracts; raises LookupError when none does."""
    for service in SERVICES:
        if area == service.area or area in service.also_serves:
            return service
    raise LookupError(f"no service serves {area}: add it to svc_common/registry.py")
