"""Owns every statement on the templates of the schema `gallery`; like those on pictures, each names the account."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common import db
from svc_common.statements import Direct, Statement
from svc_gallery.domain.templates import template_not_found
from svc_gallery.store.models import Template, TemplateUse

_added = insert(TemplateUse).values(
    account_id=bindparam("used_by"), template_id=bindparam("used_template"), use_count=1
)
_COUNT_USE = Statement(
    _added.on_conflict_do_update(
        index_elements=[TemplateUse.account_id, TemplateUse.template_id],
        set_={"use_count": TemplateUse.use_count + 1},
    )
)


async def take_turn(session: AsyncSession, account_id: UUID) -> None:
    """Lets the calls of an account that add templates follow each other, so that what is read next stays true."""
    await db.take_turn(session, f"templates:{account_id}")


async def find_request(session: AsyncSession, account_id: UUID, request_id: str) -> Template | None:
    """Returns the template that a request id of an account has created, if it is still there."""
    is_the_one = (Template.account_id == account_id) & (Template.request_id == request_id)
    return await session.scalar(select(Template).where(is_the_one))


async def find_template(session: AsyncSession, account_id: UUID, template_id: str) -> Template:
    """Returns a template of an account.

    Raises:
        ServiceError: TEMPLATE_NOT_FOUND.
    """
    template = await session.scalar(select(Template).where(_one(account_id, _uuid(template_id))))
    if template is None:
        raise template_not_found(template_id)
    return template


async def lock_template(session: AsyncSession, account_id: UUID, template_id: str) -> Template:
    """Returns a template of an account, which nobody else changes until the transaction ends.

    Raises:
        ServiceError: TEMPLATE_NOT_FOUND.
    """
    statement = select(Template).where(_one(account_id, _uuid(template_id))).with_for_update()
    template = await session.scalar(statement)
    if template is None:
        raise template_not_found(template_id)
    return template


async def list_templates(
    session: AsyncSession,
    account_id: UUID,
    *,
    kind: int = 0,
    category: str = "",
    after: tuple[datetime, UUID] | None = None,
    limit: int,
) -> Sequence[Template]:
    """Returns at most `limit` templates of an account, oldest first, from a place in the list on."""
    statement = select(Template).where(Template.account_id == account_id)
    if kind:
        statement = statement.where(Template.kind == kind)
    if category:
        statement = statement.where(Template.category == category)
    if after is not None:
        statement = statement.where(tuple_(Template.create_time, Template.template_id) > after)
    ordered = statement.order_by(Template.create_time, Template.template_id).limit(limit)
    return (await session.scalars(ordered)).all()


async def content_hashes(session: AsyncSession, account_id: UUID) -> Sequence[bytes]:
    """Returns the hash of each template of an account; they are 500 at most."""
    return (await session.scalars(select(Template.content_hash).where(Template.account_id == account_id))).all()


async def delete_template(session: AsyncSession, account_id: UUID, template_id: str) -> None:
    """Deletes a template of an account, and forgets how often it was used.

    Raises:
        ServiceError: TEMPLATE_NOT_FOUND.
    """
    gone = delete(Template).where(_one(account_id, _uuid(template_id))).returning(Template.template_id)
    if await session.scalar(gone) is None:
        raise template_not_found(template_id)
    used = (TemplateUse.account_id == account_id) & (TemplateUse.template_id == template_id)
    await session.execute(delete(TemplateUse).where(used))


async def count_use(direct: Direct, account_id: UUID, template_id: str) -> None:
    """Counts one job of an account that was made with a template."""
    await direct.fetch(_COUNT_USE, {"used_by": account_id, "used_template": template_id})


async def use_counts(session: AsyncSession, account_id: UUID, template_ids: Collection[str]) -> Mapping[str, int]:
    """Returns how often an account has used templates; those that it hasn't are left out."""
    statement = select(TemplateUse.template_id, TemplateUse.use_count).where(
        TemplateUse.account_id == account_id, TemplateUse.template_id.in_(template_ids)
    )
    return {row.template_id: row.use_count for row in await session.execute(statement)}


def _one(account_id: UUID, template_id: UUID | None) -> ColumnElement[bool]:
    return (Template.template_id == template_id) & (Template.account_id == account_id)


def _uuid(template_id: str) -> UUID | None:
    """Returns the id of a row, or None, which no row has, for text that can't be one."""
    try:
        return UUID(template_id)
    except ValueError:
        return None
