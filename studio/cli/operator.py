"""The operator of the stack on this machine, as the commands of `pingvas admin` call its internal listeners."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1.credit_service_pb2 import GrantKind
from pingvas.payment.v1.ledger_service_pb2 import AuditLedgerRequest, GrantCreditsRequest, LedgerBreach, SetTierRequest
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from pingvas.user.v1.user_directory_service_pb2 import LookupUserRequest
from pingvas.user.v1.user_directory_service_pb2_grpc import UserDirectoryServiceStub
from pingvas.vocabulary import Tier
from pingvas_sdk.errors import error_of

from studio.cli.context import Shared
from studio.cli.endpoint import read_address
from studio.cli.failures import CommandError
from studio.cli.refusals import command_error
from studio.stack.certificates import tls_of
from studio.stack.keys import ensure_secrets
from studio.stack.layout import HOST
from svc_common.mutual_tls import blocking_channel
from svc_common.registry import OPERATOR_NAME
from svc_common.tokens import ServiceCredential

CALL_SECONDS = 15.0
_AUDIT_SECONDS = 120.0


class Operator:
    """Calls the internal listeners of the stack that runs on this machine."""

    def __init__(self, shared: Shared) -> None:
        """Finds the running stack and the operator's key; raises CommandError when another deployment is meant."""
        running = shared.require_running() if shared.endpoint is None else shared.running
        if running is None or (shared.endpoint and read_address(shared.endpoint).target != running.grpc):
            raise CommandError(
                f"{shared.endpoint} can't be administered from here: admin commands call internal listeners, "
                "which a deployment's edge does not route, with a key that stays on its machine",
                advice="Run them on the machine of the stack, with its --data-dir and without --endpoint.",
            )
        layout = shared.layout
        self._ports = layout.ports
        self._tls = tls_of(layout, OPERATOR_NAME)
        secrets = ensure_secrets(layout.keys)
        self._credential = ServiceCredential.from_file(OPERATOR_NAME, secrets.service_key(OPERATOR_NAME))

    def account_of(self, email: str) -> str:
        """Returns the account of a user."""
        with self.calling("user") as (channel, metadata):
            lookup = UserDirectoryServiceStub(channel).LookupUser
            user = lookup(LookupUserRequest(email=email), timeout=CALL_SECONDS, metadata=metadata)
        return str(user.account_id)

    def grant(self, account_id: str, amount_millicredits: int) -> None:
        """Gives an account promotional credits without an expiry."""
        request = GrantCreditsRequest(
            request_id=f"operator:{uuid.uuid4()}",
            account_id=account_id,
            kind=GrantKind.GRANT_KIND_PROMOTIONAL,
            amount_millicredits=amount_millicredits,
        )
        with self.calling("payment") as (channel, metadata):
            LedgerServiceStub(channel).GrantCredits(request, timeout=CALL_SECONDS, metadata=metadata)

    def set_tier(self, account_id: str, tier: str) -> None:
        """Puts an account on a tier."""
        request = SetTierRequest(account_id=account_id, tier=tier_pb2.Tier.ValueType(Tier.of(tier)))
        with self.calling("payment") as (channel, metadata):
            LedgerServiceStub(channel).SetTier(request, timeout=CALL_SECONDS, metadata=metadata)

    def breaches(self) -> list[LedgerBreach]:
        """Audits the whole ledger and returns the breaches."""
        with self.calling("payment") as (channel, metadata):
            audit = LedgerServiceStub(channel).AuditLedger
            # It reads every row of the ledger.
            answer = audit(AuditLedgerRequest(), timeout=_AUDIT_SECONDS, metadata=metadata)
        return list(answer.breaches)

    @contextmanager
    def calling(self, area: str) -> Iterator[tuple[grpc.Channel, tuple[tuple[str, str], ...]]]:
        """Opens a channel to an area's internal listener and gives the operator's credential, as metadata."""
        address = f"{HOST}:{self._ports.internal(area)}"
        metadata = (("authorization", f"Bearer {self._credential.token()}"),)
        with blocking_channel(address, self._tls) as channel:
            try:
                yield channel, metadata
            except grpc.RpcError as error:
                raise command_error(error_of(error, address), address) from error
