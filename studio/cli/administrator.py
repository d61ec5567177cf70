"""Who `pingvas admin` acts as: the local stack's own administrator, or who is logged in at another deployment."""

import time
import uuid
from collections.abc import Iterator
from typing import Final, Self

from pingvas.common.v1.tier_pb2 import Tier
from pingvas.payment.v1.credit_service_pb2 import GrantKind
from pingvas.payment.v1.ledger_service_pb2 import AuditLedgerRequest, GrantCreditsRequest, LedgerBreach, SetTierRequest
from pingvas.payment.v1.payment_admin_service_pb2_grpc import PaymentAdminServiceStub
from pingvas.user.v1.account_admin_service_pb2 import ManagedUser, SearchUsersRequest
from pingvas.user.v1.account_admin_service_pb2_grpc import AccountAdminServiceStub

from studio.cli.client import Client, connect
from studio.cli.context import Shared, local_endpoint
from studio.cli.credentials import Credentials
from studio.cli.endpoint import read_address
from studio.cli.failures import CommandError
from studio.stack.administrator import ensure_administrator
from studio.stack.layout import Layout

TIERS: Final = ("free", "starter", "pro", "studio", "enterprise")
_AUDIT_SECONDS: Final = 120.0


class Administrator:
    """Calls what is for administrators, with the session of one; `with` ends the connection."""

    def __init__(self, shared: Shared) -> None:
        """Takes the session of the local stack's administrator, or of this person where another deployment is meant."""
        self.client = administrator_client(shared)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connection."""
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self.client.close()

    def user(self, email: str) -> ManagedUser:
        """Returns the user with an e-mail address; raises CommandError when nobody has it."""
        search = AccountAdminServiceStub(self.client.channel).SearchUsers
        listed: Iterator[ManagedUser] = self.client.items(search, SearchUsersRequest(query=email, page_size=200))
        found = next((each for each in listed if each.user.email == email.lower()), None)
        if found is None:
            raise CommandError(
                f"nobody registered with the address {email}",
                advice="Check the address: `pingvas admin users` shows who there is.",
            )
        return found

    def account_of(self, email: str) -> str:
        """Returns the account of a user."""
        return self.user(email).user.account_id

    def grant(self, account_id: str, amount_millicredits: int) -> None:
        """Gives an account promotional credits without an expiry."""
        request = GrantCreditsRequest(
            request_id=f"administrator:{uuid.uuid4()}",
            account_id=account_id,
            kind=GrantKind.GRANT_KIND_PROMOTIONAL,
            amount_millicredits=amount_millicredits,
        )
        self.client.call(PaymentAdminServiceStub(self.client.channel).GrantCredits, request)

    def set_tier(self, account_id: str, tier: str) -> None:
        """Puts an account on a tier."""
        request = SetTierRequest(account_id=account_id, tier=Tier.Value(f"TIER_{tier.upper()}"))
        self.client.call(PaymentAdminServiceStub(self.client.channel).SetTier, request)

    def breaches(self) -> list[LedgerBreach]:
        """Audits the whole ledger and returns the breaches."""
        audit = PaymentAdminServiceStub(self.client.channel).AuditLedger
        # It reads every row of the ledger.
        return list(self.client.call(audit, AuditLedgerRequest(), seconds=_AUDIT_SECONDS).breaches)


def administrator_client(shared: Shared) -> Client:
    """Returns a client with an administrator's session.

    That is the local stack's own administrator, whose password lies on this machine, where that stack is meant; elsewhere this
    person, who has to be logged in and to have the role.
    """
    running = shared.running
    is_local = running is not None and (shared.endpoint is None or read_address(shared.endpoint).target == running.grpc)
    if not is_local or running is None:
        return connect(shared)
    keys = Layout(shared.data_dir).keys
    credentials = Credentials(keys / "administrator")
    endpoint = local_endpoint(running)
    client = Client(endpoint, credentials)
    session = credentials.find(endpoint)
    if session is None or not session.is_fresh(time.time()):
        administrator = ensure_administrator(keys)
        client.login(administrator.email, administrator.password)
    return client
