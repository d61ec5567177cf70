"""Serves TemplateService: prompts that are used often."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import dropwhile, islice
from typing import Final, TypeAlias
from uuid import UUID

from pingvas.gallery.v1 import template_pb2, template_service_pb2, template_service_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.caller import current_account, current_user
from svc_common.errors import FieldViolation, ServiceError, invalid_field
from svc_common.idempotency import idempotency_key, idempotency_key_reused
from svc_common.objects import ObjectStore
from svc_common.paging import PageTokens, moment_and_id, page_size
from svc_gallery.domain.images import image_not_found
from svc_gallery.domain.templates import TEMPLATES_OF_AN_ACCOUNT, check_template_room
from svc_gallery.messages.templates import (
    clean_content,
    hash_of,
    stored_bytes,
    stored_content,
    template_message,
)
from svc_gallery.servicer.presets import Filler
from svc_gallery.store import queries, templates
from svc_gallery.store.models import Template

FILE_FORMAT: Final = "pingvas.templates.v1"

_Listed: TypeAlias = Template | template_pb2.Template
"""One of the account's, or one of the platform's."""


class TemplateServicer(template_service_pb2_grpc.TemplateServiceServicer):
    """Implements pingvas.gallery.v1.TemplateService."""

    def __init__(
        self,
        filler: Filler,
        objects: ObjectStore,
        page_tokens: PageTokens,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        """Takes what fills templates, where examples lie, the maker of page tokens, clock and ids."""
        self._filler = filler
        self._database = filler.database
        self._shipped = filler.shipped
        self._objects = objects
        self._page_tokens = page_tokens
        self._now = now
        self._new_id = new_id

    async def ListTemplates(
        self, request: template_service_pb2.ListTemplatesRequest, _context: object
    ) -> template_service_pb2.ListTemplatesResponse:
        """Returns a page of templates: those of the platform stand before the account's."""
        account_id, size = current_account(), page_size(request.page_size)
        scope = f"templates:{account_id}:{request.kind}:{request.language}:{request.category}"
        place = self._page_tokens.decode(request.page_token, scope) if request.page_token else ()
        # One part names a template of the platform, two one of the account's.
        found: list[_Listed] = [] if len(place) > 1 else list(islice(self._shipped_after(request, place), size + 1))
        async with self._database.transaction(account_id) as transaction:
            if len(found) <= size:
                after = moment_and_id(place) if len(place) > 1 else None
                found += await templates.list_templates(
                    transaction,
                    account_id,
                    kind=request.kind,
                    category=request.category,
                    after=after,
                    limit=size + 1 - len(found),
                )
            page, next_page_token = self._page_tokens.cut(found, size, scope, _place_of)
            messages = await self._messages(transaction, account_id, page)
        return template_service_pb2.ListTemplatesResponse(templates=messages, next_page_token=next_page_token)

    async def GetTemplate(
        self, request: template_service_pb2.GetTemplateRequest, _context: object
    ) -> template_pb2.Template:
        """Returns one template."""
        account_id = current_account()
        async with self._database.transaction(account_id) as transaction:
            template: _Listed | None = self._shipped.find(request.template_id, request.language)
            if template is None:
                template = await templates.find_template(transaction, account_id, request.template_id)
            return await self._message(transaction, account_id, template)

    async def CreateTemplate(
        self, request: template_service_pb2.CreateTemplateRequest, _context: object
    ) -> template_pb2.Template:
        """Creates a template."""
        account_id, key = current_account(), idempotency_key(request.request_id)
        content, example_image_id = clean_content(request.content), request.content.example_image_id
        request_hash = hash_of(stored_bytes(content), example_image_id)
        async with self._database.transaction(account_id) as transaction:
            await templates.take_turn(transaction, account_id)
            template = await templates.find_request(transaction, account_id, key) if key else None
            if template is None:
                hashes = await templates.content_hashes(transaction, account_id)
                check_template_room(len(hashes) + 1)
                template = self._new_template(account_id, content, key, request_hash)
                template.example_image_id = await _example(transaction, account_id, example_image_id)
                transaction.add(template)
                await transaction.flush()
            elif template.request_hash != request_hash:
                raise idempotency_key_reused(key)
            return await self._message(transaction, account_id, template)

    async def UpdateTemplate(
        self, request: template_service_pb2.UpdateTemplateRequest, _context: object
    ) -> template_pb2.Template:
        """Replaces what a template says."""
        account_id, content = current_account(), stored_bytes(clean_content(request.content))
        async with self._database.transaction(account_id) as transaction:
            # The picture before the template, as whoever purges pictures locks them.
            example_image_id = await _example(transaction, account_id, request.content.example_image_id)
            template = await templates.lock_template(transaction, account_id, request.template_id)
            template.kind, template.category = request.content.kind, request.content.category.strip()
            template.content, template.content_hash = content, hash_of(content)
            template.example_image_id = example_image_id
            template.update_time = self._now()
            await transaction.flush()
            return await self._message(transaction, account_id, template)

    async def DeleteTemplate(
        self, request: template_service_pb2.DeleteTemplateRequest, _context: object
    ) -> template_service_pb2.DeleteTemplateResponse:
        """Deletes a template."""
        account_id = current_account()
        async with self._database.transaction(account_id) as transaction:
            await templates.delete_template(transaction, account_id, request.template_id)
        return template_service_pb2.DeleteTemplateResponse()

    async def FillTemplate(
        self, request: template_service_pb2.FillTemplateRequest, _context: object
    ) -> template_pb2.FilledTemplate:
        """Returns the texts that a template and a style make."""
        return await self._filler.fill(current_account(), request)

    async def ExportTemplates(
        self, _request: template_service_pb2.ExportTemplatesRequest, _context: object
    ) -> template_service_pb2.TemplateFile:
        """Returns the account's templates as a file."""
        account_id = current_account()
        async with self._database.transaction(account_id) as transaction:
            rows = await templates.list_templates(transaction, account_id, limit=TEMPLATES_OF_AN_ACCOUNT)
        contents = [stored_content(row) for row in rows]
        for content in contents:
            content.ClearField("example_image_id")
        return template_service_pb2.TemplateFile(format=FILE_FORMAT, templates=contents)

    async def ImportTemplates(
        self, request: template_service_pb2.ImportTemplatesRequest, _context: object
    ) -> template_service_pb2.ImportTemplatesResponse:
        """Creates the templates of a file that the account hasn't."""
        account_id = current_account()
        if request.file.format != FILE_FORMAT:
            raise invalid_field("file.format", f"must be {FILE_FORMAT}: this is no file of templates")
        contents = {hash_of(stored_bytes(content)): content for content in _checked(request.file.templates)}
        async with self._database.transaction(account_id) as transaction:
            await templates.take_turn(transaction, account_id)
            known = set(await templates.content_hashes(transaction, account_id))
            new = [content for content_hash, content in contents.items() if content_hash not in known]
            check_template_room(len(known) + len(new))
            transaction.add_all([self._new_template(account_id, content, "", hash_of(b"")) for content in new])
        return template_service_pb2.ImportTemplatesResponse(
            created_count=len(new), known_count=len(request.file.templates) - len(new)
        )

    def _shipped_after(
        self, request: template_service_pb2.ListTemplatesRequest, place: Sequence[str]
    ) -> Iterator[template_pb2.Template]:
        listed = iter(self._shipped.list(request.language))
        if place:
            listed = dropwhile(lambda template: template.template_id != place[0], listed)
            next(listed, None)
        for template in listed:
            if request.kind in (0, template.content.kind) and request.category in ("", template.content.category):
                yield template

    async def _message(self, transaction: AsyncSession, account_id: UUID, template: _Listed) -> template_pb2.Template:
        (message,) = await self._messages(transaction, account_id, [template])
        return message

    async def _messages(
        self, transaction: AsyncSession, account_id: UUID, listed: Sequence[_Listed]
    ) -> Sequence[template_pb2.Template]:
        ids = [str(template.template_id) for template in listed]
        examples = [row.example_image_id for row in listed if isinstance(row, Template) and row.example_image_id]
        use_counts = await templates.use_counts(transaction, account_id, ids)
        shown = await queries.shown_images(transaction, account_id, examples) if examples else ()
        now = self._now()
        return [await template_message(each, use_counts, shown, self._objects, now) for each in listed]

    def _new_template(
        self, account_id: UUID, content: template_pb2.TemplateContent, key: str, request_hash: bytes
    ) -> Template:
        now, stored = self._now(), stored_bytes(content)
        return Template(
            template_id=self._new_id(),
            account_id=account_id,
            created_by=current_user(),
            request_id=key or None,
            request_hash=request_hash,
            kind=content.kind,
            category=content.category,
            content=stored,
            content_hash=hash_of(stored),
            create_time=now,
            update_time=now,
        )


async def _example(transaction: AsyncSession, account_id: UUID, image_id: str) -> UUID | None:
    """Returns the id of an example, locked so that it can't be purged before the template refers to it."""
    if not image_id:
        return None
    if await queries.lock_image(transaction, account_id, UUID(image_id)) is None:
        raise image_not_found(UUID(image_id))
    return UUID(image_id)


def _place_of(template: _Listed) -> Sequence[str]:
    if isinstance(template, Template):
        return template.create_time.isoformat(), str(template.template_id)
    return (template.template_id,)


def _checked(contents: Sequence[template_pb2.TemplateContent]) -> Iterator[template_pb2.TemplateContent]:
    """Yields the contents of a file.

    Raises:
        ServiceError: INVALID_FIELD, with the place in the file.
    """
    for at, content in enumerate(contents):
        try:
            yield clean_content(content)
        except ServiceError as error:
            error.violations = tuple(
                FieldViolation(f"file.templates[{at}].{fault.field.removeprefix('content.')}", fault.description)
                for fault in error.violations
            )
            raise
