"""HTTP calls to a provider: one client with its key, a limit of time, and refusals in two kinds."""

from collections.abc import Mapping
from typing import Any, Final

import httpx

from svc_payment.providers.interface import ProviderError, does_not_answer

_SECONDS: Final = 8.0
_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429
_FAULTS: Final = 500
_SHOWN: Final = 300


class ProviderClient:
    """Calls the API of one provider."""

    def __init__(self, name: str, base_url: str, headers: Mapping[str, str]) -> None:
        """Takes the API's address and the headers of every call, the key among them. Connects at the first call."""
        self._name = name
        self._client = httpx.AsyncClient(base_url=base_url, headers=dict(headers), timeout=_SECONDS)

    async def call(
        self, verb: str, path: str, body: Any = None, *, parameters: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Returns the answer's document.

        Raises:
            ServiceError: DEPENDENCY_UNAVAILABLE, when the provider is away, too busy or broken.
            ProviderError: it refuses.
        """
        found = await self.find(verb, path, body, parameters=parameters)
        if found is None:
            raise ProviderError(f"{self._name} knows no {verb} {path}")
        return found

    async def find(
        self, verb: str, path: str, body: Any = None, *, parameters: Mapping[str, str] | None = None
    ) -> dict[str, Any] | None:
        """Returns the answer's document, or None for what the provider doesn't have; raises as `call` does."""
        try:
            answer = await self._client.request(verb, path, json=body, params=dict(parameters or {}))
        except httpx.HTTPError as error:
            raise does_not_answer(self._name) from error
        if answer.status_code == _NOT_FOUND:
            return None
        if answer.status_code == _TOO_MANY or answer.status_code >= _FAULTS:
            raise does_not_answer(self._name)
        if not answer.is_success:
            raise ProviderError(f"{self._name} answered {answer.status_code} to {verb} {path}: {answer.text[:_SHOWN]}")
        document: dict[str, Any] = answer.json() if answer.content else {}
        return document

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()
