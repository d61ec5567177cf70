"""Tells the audit log, which is svc_user's, what an administrator is about to do in another part of the platform."""

from collections.abc import Mapping

from pingvas.user.v1 import user_directory_service_pb2_grpc
from pingvas.user.v1.audit_event_pb2 import AuditEventKind
from pingvas.user.v1.user_directory_service_pb2 import RecordAdministrationRequest

from svc_common.caller import current_headers, current_peer, current_user
from svc_common.client_address import ClientAddresses, user_agent_of_call


class AdministrationLog:
    """Writes down what the present call is about to do (docs/adr/0060)."""

    def __init__(
        self, directory: "user_directory_service_pb2_grpc.UserDirectoryServiceAsyncStub", addresses: ClientAddresses
    ) -> None:
        """Takes who keeps the audit log."""
        self._directory = directory
        self._addresses = addresses

    async def record(self, kind: AuditEventKind.ValueType, after: Mapping[str, str], *, account_id: str = "") -> None:
        """Writes an event of the administrator who calls; raises what stands in the way, and then nothing may be done.

        `after` says what it will be, by name. Without an account it is done to the platform.
        """
        record = RecordAdministrationRequest(
            account_id=account_id,
            user_id=str(current_user()),
            kind=kind,
            after=after,
            network=self._addresses.of(current_headers(), current_peer()),
            user_agent=user_agent_of_call(),
        )
        await self._directory.RecordAdministration(record)
