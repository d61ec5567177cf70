"""What is known of the client that makes the present call, as sessions and the audit log keep it."""

from dataclasses import dataclass

from svc_common.caller import current_headers, current_peer
from svc_common.client_address import ClientAddresses, user_agent_of_call
from svc_user import domain


@dataclass(frozen=True, slots=True)
class ClientOfCall:
    """Finds the program and the network of the present call."""

    addresses: ClientAddresses

    @property
    def user_agent(self) -> str:
        """What the program calls itself."""
        return domain.clean_user_agent(user_agent_of_call())

    @property
    def network(self) -> str:
        """The IPv4 address or IPv6 /64 that it calls from."""
        return self.addresses.of(current_headers(), current_peer())
