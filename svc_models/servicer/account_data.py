"""Serves LoraDataService: what svc_models has of an account, for the copy that its owner asks for."""

from typing import Final

from pingvas.common.v1.account_export_pb2 import AccountPage, ExportAccountRequest
from pingvas.models.v1 import lora_data_service_pb2, lora_data_service_pb2_grpc

from svc_common.account_data import AccountPager, rows_of
from svc_common.db import Database
from svc_common.paging import PageTokens
from svc_models.messages.loras import lora_message
from svc_models.store.models import OwnLora

# The method's rules are there once its module is; the stubs import messages only.
_SERVICE: Final = lora_data_service_pb2.DESCRIPTOR


class LoraDataServicer(lora_data_service_pb2_grpc.LoraDataServiceServicer):
    """Implements pingvas.models.v1.LoraDataService."""

    def __init__(self, *, database: Database, page_tokens: PageTokens) -> None:
        """Takes the database under the requests role."""
        collections = (rows_of("loras", OwnLora, (OwnLora.lora_id,), lora_message),)
        self._pager = AccountPager(database=database, page_tokens=page_tokens, collections=collections)

    async def ExportAccount(self, request: ExportAccountRequest, _context: object) -> AccountPage:
        """Returns a page of what there is of an account."""
        return await self._pager.page(request)
