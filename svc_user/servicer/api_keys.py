"""Serves ApiKeyService: the keys with which programs call in a person's name."""

import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog
from pingvas.user.v1 import api_key_pb2, api_key_service_pb2, api_key_service_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.api_keys import KeyLimits
from svc_common.caller import current_account, current_user
from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason, ServiceError, invalid_field
from svc_common.idempotency import idempotency_key, idempotency_key_reused
from svc_common.paging import PageTokens, page_size
from svc_common.revocations import account_suspended
from svc_common.scopes import scope_names
from svc_common.tokens import AccessTokenIssuer
from svc_user import domain
from svc_user.domain.audit import AuditKind
from svc_user.messages import api_key_message, key_limits, limits_of
from svc_user.servicer.throttle import Throttle
from svc_user.servicer.users import get_caller
from svc_user.store import api_keys
from svc_user.store.models import ApiKey
from svc_user.usecases.audit import AuditTrail

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeySource:
    """Holds what keys and their tokens are made of, so that tests can replace time and chance."""

    issuer: AccessTokenIssuer
    environment: str
    random_bytes: Callable[[int], bytes]
    clock: Callable[[], datetime]


class ApiKeyServicer(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """Implements pingvas.user.v1.ApiKeyService."""

    def __init__(
        self,
        *,
        database: Database,
        keys: KeySource,
        page_tokens: PageTokens,
        throttle: Throttle,
        audit: AuditTrail,
    ) -> None:
        """Takes the database under the requests role."""
        self._audit = audit
        self._database = database
        self._keys = keys
        self._page_tokens = page_tokens
        self._throttle = throttle

    async def CreateApiKey(
        self, request: api_key_service_pb2.CreateApiKeyRequest, _context: object
    ) -> api_key_pb2.ApiKey:
        """Makes a key, or finds the one that the request made before."""
        account_id, request_id = current_account(), idempotency_key(request.request_id)
        await self._throttle.api_key(account_id)
        expire_time, limits = self._expire_time(request), limits_of(request.limits)
        text = ""
        async with self._database.transaction(account_id) as transaction:
            if not (await get_caller(transaction, current_user())).email_verified:
                raise ServiceError(Reason.EMAIL_NOT_VERIFIED, "Confirm your e-mail address before you make API keys.")
            await api_keys.take_turn(transaction, account_id)
            row = await api_keys.find_request(transaction, request_id) if request_id else None
            if row is None:
                row, text = self._new_key(request, request_id or str(new_id()), expire_time, limits)
                await api_keys.insert_api_key(transaction, row)
                about = {"api_key_id": row.api_key_id, "scopes": " ".join(sorted(scope_names(row.scopes)))}
                await self._audit.add(transaction, AuditKind.API_KEY_CREATED, account_id, after=about)
        asked = (request.name, _scopes(request), expire_time, limits)
        if (row.name, row.scopes, row.expire_time, replace(key_limits(row), api_key_id="")) != asked:
            raise idempotency_key_reused(request_id)
        _log.info("api_key.created", user_id=str(row.user_id), api_key_id=row.api_key_id)
        return api_key_message(row, text)

    async def UpdateApiKey(
        self, request: api_key_service_pb2.UpdateApiKeyRequest, _context: object
    ) -> api_key_pb2.ApiKey:
        """Changes name and limits of a key of the caller's."""
        async with self._database.transaction(current_account()) as transaction:
            row = await api_keys.find_api_key(transaction, request.api_key_id)
            if row is None or row.user_id != current_user():
                raise invalid_field("api_key_id", "names no key of yours; ListApiKeys shows them.")
            if request.HasField("name"):
                row.name = request.name
            if request.HasField("limits"):
                _set_limits(row, limits_of(request.limits))
        _log.info("api_key.changed", user_id=str(row.user_id), api_key_id=row.api_key_id)
        return api_key_message(row)

    async def ListApiKeys(
        self, request: api_key_service_pb2.ListApiKeysRequest, _context: object
    ) -> api_key_service_pb2.ListApiKeysResponse:
        """Returns a page of the caller's keys, the newest first."""
        user_id, size = current_user(), page_size(request.page_size)
        scope = f"api_keys:{user_id}"
        after = self._place(request.page_token, scope)
        async with self._database.transaction(current_account()) as transaction:
            # One more than the page holds tells whether another page follows.
            found = await api_keys.list_api_keys(transaction, user_id, after=after, limit=size + 1)
        page, next_page_token = self._page_tokens.cut(
            found, size, scope, lambda key: (key.create_time.isoformat(), key.api_key_id)
        )
        return api_key_service_pb2.ListApiKeysResponse(
            api_keys=[api_key_message(key) for key in page], next_page_token=next_page_token
        )

    async def DeleteApiKey(
        self, request: api_key_service_pb2.DeleteApiKeyRequest, _context: object
    ) -> api_key_service_pb2.DeleteApiKeyResponse:
        """Deletes a key of the caller's."""
        async with self._database.transaction(current_account()) as transaction:
            if await api_keys.delete_api_key(transaction, current_user(), request.api_key_id):
                about = {"api_key_id": request.api_key_id}
                await self._audit.add(transaction, AuditKind.API_KEY_DELETED, current_account(), before=about)
        return api_key_service_pb2.DeleteApiKeyResponse()

    async def ExchangeApiKey(
        self, request: api_key_service_pb2.ExchangeApiKeyRequest, context: object
    ) -> api_key_service_pb2.ExchangeApiKeyResponse:
        """Returns a short-lived access token with the scopes of a key."""
        await self._throttle.exchange(context)
        api_key_id = domain.id_of_api_key(request.key)
        if api_key_id is None:
            raise _invalid()
        now, key_hash = self._keys.clock(), domain.hash_api_key(request.key)
        async with self._database.transaction() as transaction:
            key = await self._live_key(transaction, api_key_id, key_hash, now)
            owner = await get_caller(transaction, key.user_id)
            if owner.suspend_time is not None:
                raise account_suspended()
            await api_keys.note_use(transaction, key, now)
        lifetime = domain.API_KEY_TOKEN_LIFETIME
        token = self._keys.issuer.issue(
            key.user_id,
            key.account_id,
            domain.session_of_api_key(api_key_id),
            now,
            scopes=scope_names(key.scopes),
            key=key_limits(key),
            lifetime=lifetime,
            epoch=owner.token_epoch,
        )
        return api_key_service_pb2.ExchangeApiKeyResponse(
            access_token=token,
            token_type="bearer",  # noqa: S106 - the kind of token, not a secret
            expires_in=int(lifetime.total_seconds()),
        )

    async def _live_key(self, transaction: AsyncSession, api_key_id: str, key_hash: bytes, now: datetime) -> ApiKey:
        await api_keys.enter_account_by_api_key(transaction, api_key_id)
        key = await api_keys.find_api_key(transaction, api_key_id)
        if key is None or not hmac.compare_digest(key.key_hash, key_hash):
            raise _invalid()
        if key.expire_time is not None and key.expire_time <= now:
            raise _invalid()
        return key

    def _expire_time(self, request: api_key_service_pb2.CreateApiKeyRequest) -> datetime | None:
        if not request.HasField("expire_time"):
            return None
        expire_time = request.expire_time.ToDatetime(UTC)
        if expire_time <= self._keys.clock():
            raise invalid_field("expire_time", "must be ahead.")
        return expire_time

    def _new_key(
        self,
        request: api_key_service_pb2.CreateApiKeyRequest,
        request_id: str,
        expire_time: datetime | None,
        limits: KeyLimits,
    ) -> tuple[ApiKey, str]:
        """Returns the row of a new key and the key itself."""
        random_bytes = self._keys.random_bytes
        made = domain.new_api_key(
            self._keys.environment, random_bytes(domain.API_KEY_ID_BYTES), random_bytes(domain.API_KEY_SECRET_BYTES)
        )
        row = ApiKey(
            api_key_id=made.api_key_id,
            account_id=current_account(),
            user_id=current_user(),
            request_id=request_id,
            name=request.name,
            scopes=_scopes(request),
            key_hash=made.key_hash,
            create_time=self._keys.clock(),
            expire_time=expire_time,
            last_use_time=None,
        )
        _set_limits(row, limits)
        return row, made.text

    def _place(self, token: str, scope: str) -> api_keys.Place | None:
        if not token:
            return None
        moment, api_key_id = self._page_tokens.decode(token, scope)
        return datetime.fromisoformat(moment), api_key_id


def _set_limits(row: ApiKey, limits: KeyLimits) -> None:
    row.day_millicredits, row.month_millicredits = limits.day_millicredits, limits.month_millicredits
    row.model_ids, row.largest_side_px = sorted(limits.model_ids), limits.largest_side_px


def _scopes(request: api_key_service_pb2.CreateApiKeyRequest) -> list[int]:
    scopes: Collection[int] = request.scopes
    return sorted(scopes)


def _invalid() -> ServiceError:
    return ServiceError(Reason.API_KEY_INVALID, "The API key is malformed, unknown, deleted or expired. Make another.")
