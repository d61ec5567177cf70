"""Makes texts of templates and styles: for jobs, which name them by their ids, and for people who want to see them first."""

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from pingvas.gallery.v1 import preset_service_pb2, preset_service_pb2_grpc, template_pb2, template_service_pb2

from svc_common.db import Database
from svc_gallery.domain.templates import Texts, add_style, fill_template, template_not_found
from svc_gallery.messages.templates import stored_content, texts_of, variables_of
from svc_gallery.servicer.shipped_templates import ShippedTemplates
from svc_gallery.store import templates

_Request: TypeAlias = preset_service_pb2.ResolvePresetRequest | template_service_pb2.FillTemplateRequest


@dataclass(frozen=True, slots=True)
class Filler:
    """Fills the templates of the platform and of accounts."""

    database: Database
    shipped: ShippedTemplates

    async def fill(self, account_id: UUID, request: _Request) -> template_pb2.FilledTemplate:
        """Returns what the template and the style of a request make of its own texts.

        Raises:
            ServiceError: TEMPLATE_NOT_FOUND, INVALID_FIELD.
        """
        texts, size_preset = Texts(request.prompt, request.negative_prompt), ""
        if request.template_id:
            template = await self._content(account_id, request.template_id, template_pb2.TEMPLATE_KIND_PROMPT)
            if not _is_filled(request):
                given = [(each.name, each.value) for each in request.values]
                texts = fill_template(texts_of(template), variables_of(template), given, texts)
                size_preset = template.size_preset
        if request.style_id:
            style = await self._content(account_id, request.style_id, template_pb2.TEMPLATE_KIND_STYLE)
            texts = add_style(texts_of(style), texts)
        return template_pb2.FilledTemplate(
            prompt=texts.prompt, negative_prompt=texts.negative_prompt, size_preset=size_preset
        )

    async def _content(
        self, account_id: UUID, template_id: str, kind: template_pb2.TemplateKind.ValueType
    ) -> template_pb2.TemplateContent:
        shipped = self.shipped.find(template_id)
        if shipped is not None:
            content = shipped.content
        else:
            async with self.database.transaction(account_id) as transaction:
                content = stored_content(await templates.find_template(transaction, account_id, template_id))
        if content.kind != kind:
            raise template_not_found(template_id)
        return content


class PresetServicer(preset_service_pb2_grpc.PresetServiceServicer):
    """Implements pingvas.gallery.v1.PresetService."""

    def __init__(self, filler: Filler) -> None:
        """Takes what fills templates."""
        self._filler = filler

    async def ResolvePreset(
        self, request: preset_service_pb2.ResolvePresetRequest, _context: object
    ) -> template_pb2.FilledTemplate:
        """Returns the texts of a job."""
        return await self._filler.fill(UUID(request.account_id), request)


def _is_filled(request: _Request) -> bool:
    return isinstance(request, preset_service_pb2.ResolvePresetRequest) and request.already_filled
