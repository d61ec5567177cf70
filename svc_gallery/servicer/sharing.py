"""Serves SharingService: links that show one picture to anybody."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from pingvas.gallery.v1 import sharing_service_pb2, sharing_service_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.caller import current_account, current_user
from svc_common.db import Database
from svc_common.idempotency import idempotency_key, idempotency_key_reused
from svc_common.objects import ObjectStore
from svc_gallery.domain.images import image_not_found, object_keys
from svc_gallery.domain.share_links import (
    ShareTokens,
    Terms,
    check_link_room,
    check_terms,
    hash_of,
    share_link_not_found,
    share_password_required,
    share_password_wrong,
    too_many_passwords,
    without_recipe,
)
from svc_gallery.messages.images import share_link_message, shared_image_message
from svc_gallery.servicer.link_passwords import LinkPasswords
from svc_gallery.store import queries, share_links
from svc_gallery.store.models import ShareLink


class SharingServicer(sharing_service_pb2_grpc.SharingServiceServicer):
    """Implements pingvas.gallery.v1.SharingService."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        tokens: ShareTokens,
        passwords: LinkPasswords,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        """Takes the database under the requests role, where the bytes lie, the maker of secrets, passwords, clock and ids."""
        self._database = database
        self._objects = objects
        self._tokens = tokens
        self._passwords = passwords
        self._now = now
        self._new_id = new_id

    async def CreateShareLink(
        self, request: sharing_service_pb2.CreateShareLinkRequest, _context: object
    ) -> sharing_service_pb2.ShareLink:
        """Makes a link; what it leads to is there before it."""
        account_id, image_id, now = current_account(), UUID(request.image_id), self._now()
        terms, key = _terms(request), idempotency_key(request.request_id)
        check_terms(terms, now)
        async with self._database.transaction(account_id) as transaction:
            await _check_image(transaction, account_id, image_id)
        if not (terms.with_recipe or terms.no_download):
            await self._store_recipe_free(account_id, image_id)
        password_hash = await self._passwords.hash_of(request.password)
        async with self._database.transaction(account_id) as transaction:
            await share_links.take_turn(transaction, account_id)
            link = await share_links.find_request(transaction, account_id, key) if key else None
            if link is None:
                # Once more: a picture that was deleted meanwhile can't have a link.
                await _check_image(transaction, account_id, image_id)
                check_link_room(await share_links.count_links(transaction, account_id, image_id))
                link = self._new_link(account_id, image_id, terms, key, now)
                link.password_hash = password_hash
                transaction.add(link)
        made = Terms(link.with_recipe, link.expire_time, link.view_limit, link.no_download)
        is_same = (link.image_id, made) == (image_id, terms)
        if not is_same or not await self._passwords.matches(link.password_hash, request.password):
            raise idempotency_key_reused(key)
        return share_link_message(link, self._tokens)

    async def GetImageSharing(
        self, request: sharing_service_pb2.GetImageSharingRequest, _context: object
    ) -> sharing_service_pb2.ImageSharing:
        """Returns the links of one of the caller's pictures."""
        account_id, image_id = current_account(), UUID(request.image_id)
        async with self._database.transaction(account_id) as transaction:
            return await self._sharing(transaction, account_id, image_id)

    async def RevokeShareLinks(
        self, request: sharing_service_pb2.RevokeShareLinksRequest, _context: object
    ) -> sharing_service_pb2.ImageSharing:
        """Takes back one link, or all of a picture, and returns those that are left."""
        account_id, image_id = current_account(), UUID(request.image_id)
        share_link_id = UUID(request.share_link_id) if request.share_link_id else None
        async with self._database.transaction(account_id) as transaction:
            await share_links.delete_links(transaction, account_id, image_id, share_link_id)
            return await self._sharing(transaction, account_id, image_id)

    async def GetSharedImage(
        self, request: sharing_service_pb2.GetSharedImageRequest, _context: object
    ) -> sharing_service_pb2.SharedImage:
        """Returns the picture that a link shows."""
        token_hash = hash_of(request.share_token)
        return await self._viewed(await self._account_of(token_hash), token_hash, is_unlocked=False)

    async def UnlockSharedImage(
        self, request: sharing_service_pb2.UnlockSharedImageRequest, _context: object
    ) -> sharing_service_pb2.SharedImage:
        """Returns the picture that a link with a password shows."""
        token_hash, now = hash_of(request.share_token), self._now()
        account_id = await self._account_of(token_hash)
        async with self._database.transaction(account_id) as transaction:
            link = await share_links.find_open(transaction, account_id, token_hash, now)
            has_password = link is not None and link.password_hash is not None
            may_try = not has_password or await share_links.take_try(transaction, account_id, token_hash, now)
        if link is None:
            raise share_link_not_found()
        if not may_try:
            raise too_many_passwords(link.failed_since or now, now)
        if has_password and not await self._passwords.matches(link.password_hash, request.password):
            raise share_password_wrong()
        return await self._viewed(account_id, token_hash, is_unlocked=True)

    async def _account_of(self, token_hash: bytes) -> UUID:
        async with self._database.transaction() as transaction:
            account_id = await share_links.account_by_token(transaction, token_hash)
        if account_id is None:
            raise share_link_not_found()
        return account_id

    async def _viewed(
        self, account_id: UUID, token_hash: bytes, *, is_unlocked: bool
    ) -> sharing_service_pb2.SharedImage:
        now = self._now()
        async with self._database.transaction(account_id) as transaction:
            found = await share_links.view(transaction, account_id, token_hash, now, is_unlocked=is_unlocked)
            locked = None if found else await share_links.find_open(transaction, account_id, token_hash, now)
        if found is None:
            is_guarded = locked is not None and locked.password_hash is not None and not is_unlocked
            raise share_password_required() if is_guarded else share_link_not_found()
        link, image = found
        return await shared_image_message(image, self._objects, now, link)

    async def _sharing(
        self, transaction: AsyncSession, account_id: UUID, image_id: UUID
    ) -> sharing_service_pb2.ImageSharing:
        await _check_image(transaction, account_id, image_id)
        links = await share_links.list_links(transaction, account_id, image_id)
        return sharing_service_pb2.ImageSharing(
            image_id=str(image_id), links=[share_link_message(link, self._tokens) for link in links]
        )

    async def _store_recipe_free(self, account_id: UUID, image_id: UUID) -> None:
        """Stores the copy of a picture that tells nothing of how it was made, unless it is there."""
        keys = object_keys(account_id, image_id)
        if await self._objects.head(keys.recipe_free) is not None:
            return
        original = await self._objects.read(keys.original)
        if original is None:
            raise image_not_found(image_id)
        await self._objects.write(keys.recipe_free, without_recipe(original), "image/png")

    def _new_link(self, account_id: UUID, image_id: UUID, terms: Terms, key: str, now: datetime) -> ShareLink:
        share_link_id = self._new_id()
        return ShareLink(
            share_link_id=share_link_id,
            account_id=account_id,
            created_by=current_user(),
            image_id=image_id,
            token_hash=hash_of(self._tokens.token_of(share_link_id)),
            request_id=key or None,
            with_recipe=terms.with_recipe,
            expire_time=terms.expire_time,
            view_limit=terms.view_limit,
            view_count=0,
            no_download=terms.no_download,
            failed_count=0,
            create_time=now,
        )


async def _check_image(transaction: AsyncSession, account_id: UUID, image_id: UUID) -> None:
    if await queries.find_image(transaction, account_id, image_id) is None:
        raise image_not_found(image_id)


def _terms(request: sharing_service_pb2.CreateShareLinkRequest) -> Terms:
    expire_time = request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None
    return Terms(request.with_recipe, expire_time, request.view_limit, request.no_download)
