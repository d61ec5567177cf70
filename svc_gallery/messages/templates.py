"""Turns rows of templates into messages of `pingvas.gallery.v1`, and messages into what is stored and checked."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from pingvas.gallery.v1 import template_pb2

from svc_common.objects import ObjectStore
from svc_gallery.domain.images import URL_LIFETIME, object_keys
from svc_gallery.domain.templates import Texts, Variable, check_content
from svc_gallery.store.models import Template


def clean_content(content: template_pb2.TemplateContent) -> template_pb2.TemplateContent:
    """Returns a content without blanks around its name and its category, and without its example, which the row has.

    Raises:
        ServiceError: INVALID_FIELD.
    """
    clean = template_pb2.TemplateContent()
    clean.CopyFrom(content)
    clean.ClearField("example_image_id")
    clean.name, clean.category = content.name.strip() or content.name, content.category.strip()
    check_content(texts_of(clean), variables_of(clean), is_style=clean.kind == template_pb2.TEMPLATE_KIND_STYLE)
    return clean


def stored_bytes(content: template_pb2.TemplateContent) -> bytes:
    """Returns what a row keeps of a content; the same content has the same bytes."""
    return content.SerializeToString(deterministic=True)


def hash_of(stored: bytes, *others: str) -> bytes:
    """Returns by what a content, together with other texts, is recognised."""
    return hashlib.sha256(b"\0".join((*(other.encode() for other in others), stored))).digest()


def stored_content(template: Template) -> template_pb2.TemplateContent:
    """Returns the content of a row, with its example."""
    content = template_pb2.TemplateContent.FromString(template.content)
    content.example_image_id = str(template.example_image_id or "")
    return content


def texts_of(content: template_pb2.TemplateContent) -> Texts:
    """Extracts the texts."""
    return Texts(content.prompt, content.negative_prompt)


def variables_of(content: template_pb2.TemplateContent) -> Sequence[Variable]:
    """Extracts the variables."""
    return [
        Variable(each.name, each.default_value, tuple(choice.value for choice in each.choices))
        for each in content.variables
    ]


async def template_message(
    template: Template | template_pb2.Template,
    use_counts: Mapping[str, int],
    shown: Collection[UUID],
    objects: ObjectStore,
    now: datetime,
) -> template_pb2.Template:
    """Returns the message of a template; `shown` holds the examples that may be seen, signed for at `now`."""
    message = template_pb2.Template()
    if isinstance(template, template_pb2.Template):
        message.CopyFrom(template)
    else:
        message.template_id = str(template.template_id)
        message.content.CopyFrom(stored_content(template))
        message.create_time.FromDatetime(template.create_time)
        message.update_time.FromDatetime(template.update_time)
        if template.example_image_id is not None and template.example_image_id in shown:
            thumbnail = object_keys(template.account_id, template.example_image_id).thumbnail
            message.example_thumbnail_url = objects.public_address(await objects.presign_get(thumbnail, URL_LIFETIME))
            message.url_expire_time.FromDatetime(now + URL_LIFETIME)
    message.use_count = use_counts.get(message.template_id, 0)
    return message
