"""Deletes what there is of an account, for the tasks role."""

from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from svc_gallery.store.models import Base, Storage


async def delete_account(session: AsyncSession, account_id: UUID) -> None:
    """Deletes all rows of an account, in every table that has rows of accounts: one that is added is erased as well."""
    # Those come first that refer to others; boards lie in each other and go in one statement. What pictures take is last, as
    # the deletion of a picture changes it.
    owned = [table for table in reversed(Base.metadata.sorted_tables) if "account_id" in table.c]
    for table in sorted(owned, key=lambda each: each.name == Storage.__tablename__):
        await session.execute(delete(table).where(table.c.account_id == account_id))
