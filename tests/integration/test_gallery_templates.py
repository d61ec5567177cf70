"""Templates and styles through svc_gallery's real listeners and a real database."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from pingvas.gallery.v1 import template_pb2
from pingvas.gallery.v1.template_pb2 import TemplateChoice, TemplateContent, TemplateValue, TemplateVariable
from sqlalchemy import select

from svc_common.clock import new_id
from svc_common.db import Database
from svc_common.errors import Reason
from svc_gallery.domain.templates import TEMPLATES_OF_AN_ACCOUNT
from svc_gallery.store import models, queries
from svc_gallery.tasks import ImagePurger
from tests.factories.gallery import import_request
from tests.factories.gallery_service import Gallery, running_gallery
from tests.harness_postgres import DatabaseFactory
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of

PROMPT, STYLE = template_pb2.TEMPLATE_KIND_PROMPT, template_pb2.TEMPLATE_KIND_STYLE
CREATE, LIST, GET = "TemplateService.CreateTemplate", "TemplateService.ListTemplates", "TemplateService.GetTemplate"
UPDATE, DELETE, FILL = (
    "TemplateService.UpdateTemplate",
    "TemplateService.DeleteTemplate",
    "TemplateService.FillTemplate",
)
EXPORT, IMPORT = "TemplateService.ExportTemplates", "TemplateService.ImportTemplates"
CUP = TemplateContent(
    kind=PROMPT,
    name="Cup",
    category="shop",
    prompt="{{what}} on a table",
    negative_prompt="dust",
    variables=[TemplateVariable(name="what", label="Which cup", choices=[TemplateChoice(value="a blue cup")])],
    size_preset="story",
)


@pytest.fixture(scope="module")
async def gallery(database_for: DatabaseFactory, s3_server: S3Server, identities: Identities) -> AsyncIterator[Gallery]:
    async with running_gallery(database_for, s3_server, identities) as running:
        yield running


def style(name: str = "Ink") -> TemplateContent:
    return TemplateContent(kind=STYLE, name=name, category="drawn", prompt="ink drawing of {{prompt}}")


async def create(gallery: Gallery, account_id: UUID, content: TemplateContent = CUP, **fields: str) -> str:
    return str((await gallery.call(account_id, CREATE, content=content, **fields)).template_id)


async def listed(gallery: Gallery, account_id: UUID, **fields: object) -> list[template_pb2.Template]:
    """Returns the whole list, page by page."""
    found: list[template_pb2.Template] = []
    token = ""
    while True:
        page = await gallery.call(account_id, LIST, page_token=token, **fields)
        found += page.templates
        token = page.next_page_token
        if not token:
            return found


async def test_template_is_created_once_for_a_request_id_changed_and_deleted(gallery: Gallery) -> None:
    account_id = new_id()
    made = await gallery.call(account_id, CREATE, content=CUP, request_id="one")
    assert (made.content, made.shipped, made.use_count) == (CUP, False, 0)
    changed = TemplateContent.FromString(CUP.SerializeToString())
    changed.name = "Mug"
    after = await gallery.call(account_id, UPDATE, template_id=made.template_id, content=changed)
    assert (after.content.name, after.create_time) == ("Mug", made.create_time)

    again = await gallery.call(account_id, CREATE, content=CUP, request_id="one")

    assert (again.template_id, again.content.name) == (made.template_id, "Mug")
    assert await gallery.reason(account_id, CREATE, content=style(), request_id="one") is Reason.IDEMPOTENCY_KEY_REUSED
    await gallery.call(account_id, DELETE, template_id=made.template_id)
    assert await gallery.reason(account_id, GET, template_id=made.template_id) is Reason.TEMPLATE_NOT_FOUND
    assert await gallery.reason(account_id, DELETE, template_id=made.template_id) is Reason.TEMPLATE_NOT_FOUND


async def test_parallel_creations_with_one_request_id_make_one_template(gallery: Gallery) -> None:
    account_id = new_id()
    ids = await asyncio.gather(*(create(gallery, account_id, request_id="one") for _ in range(10)))
    assert len(set(ids)) == 1


async def test_lists_hold_those_of_the_platform_then_own_ones_at_any_size_of_page(gallery: Gallery) -> None:
    account_id = new_id()
    own = [await create(gallery, account_id, style(f"Ink {at}")) for at in range(3)]
    whole = [template.template_id for template in await listed(gallery, account_id, page_size=200)]
    assert whole[-3:] == own
    assert whole[0] == "product-photo"
    for size in (1, 4, 18, 19, 20, 21):
        pages = await listed(gallery, account_id, page_size=size)
        assert [template.template_id for template in pages] == whole, size
    styles = await listed(gallery, account_id, page_size=2, kind=STYLE)
    assert {template.content.kind for template in styles} == {STYLE}
    drawn = await listed(gallery, account_id, page_size=2, category="drawn")
    assert [template.template_id for template in drawn] == own
    first = await gallery.call(account_id, LIST, page_size=2)
    refused = gallery.reason(account_id, LIST, page_size=2, page_token=first.next_page_token, kind=STYLE)
    assert await refused is Reason.PAGE_TOKEN_INVALID


async def test_templates_of_the_platform_speak_korean_on_request(gallery: Gallery) -> None:
    account_id = new_id()
    english = await gallery.call(account_id, GET, template_id="product-photo")
    korean = await gallery.call(account_id, GET, template_id="product-photo", language="ko")
    assert (english.content.name, korean.content.name) == ("Product photo", "제품 사진")
    assert english.content.prompt == korean.content.prompt
    assert (await gallery.call(account_id, LIST, page_size=1, language="ko")).templates[0] == korean


@pytest.mark.parametrize("method", [UPDATE, DELETE])
async def test_templates_of_the_platform_cannot_be_changed(gallery: Gallery, method: str) -> None:
    fields = {"content": CUP} if method == UPDATE else {}
    assert await gallery.reason(new_id(), method, template_id="product-photo", **fields) is Reason.TEMPLATE_NOT_FOUND


async def test_filled_texts_are_those_of_template_and_style(gallery: Gallery) -> None:
    account_id = new_id()
    template_id, style_id = await create(gallery, account_id), await create(gallery, account_id, style())
    values = [TemplateValue(name="what", value="a blue cup")]
    fields = {"template_id": template_id, "values": values, "style_id": style_id, "prompt": "at dawn"}

    filled = await gallery.call(account_id, FILL, negative_prompt="fog", **fields)

    assert (filled.prompt, filled.negative_prompt, filled.size_preset) == (
        "ink drawing of a blue cup on a table, at dawn",
        "fog, dust",
        "story",
    )
    assert await gallery.resolve(account_id, negative_prompt="fog", **fields) == filled
    kept = await gallery.resolve(account_id, already_filled=True, template_id=template_id, prompt="mine")
    assert (kept.prompt, kept.size_preset) == ("mine", "")


async def test_what_cannot_be_filled_is_refused_with_the_variable(gallery: Gallery) -> None:
    account_id = new_id()
    template_id, style_id = await create(gallery, account_id), await create(gallery, account_id, style())
    refusal = await refusal_of(gallery.call(account_id, FILL, template_id=template_id))
    assert (refusal.reason, refusal.violations[0].field) == (Reason.INVALID_FIELD, "values.what")
    for wrong in ({"template_id": style_id}, {"style_id": template_id}, {"template_id": "no-such"}):
        assert await gallery.reason(account_id, FILL, prompt="x", **wrong) is Reason.TEMPLATE_NOT_FOUND
    nowhere = {"template_id": str(new_id()), "already_filled": True}
    assert (await refusal_of(gallery.resolve(account_id, **nowhere))).reason is Reason.TEMPLATE_NOT_FOUND


async def test_template_that_could_not_be_filled_is_refused_by_field(gallery: Gallery) -> None:
    unnamed = TemplateContent(kind=PROMPT, name="x", prompt="{{who}}")
    refusal = await refusal_of(gallery.call(new_id(), CREATE, content=unnamed))
    assert (refusal.reason, refusal.violations[0].field) == (Reason.INVALID_FIELD, "content.prompt")
    misnamed = TemplateContent(kind=PROMPT, name="x", prompt="x", size_preset="giant")
    refusal = await refusal_of(gallery.call(new_id(), CREATE, content=misnamed))
    assert (refusal.reason, refusal.violations[0].field) == (Reason.INVALID_FIELD, "content.size_preset")


async def test_exported_templates_are_imported_once_elsewhere(gallery: Gallery) -> None:
    author, reader = new_id(), new_id()
    (image_id,) = await gallery.take_in(author)
    with_example = TemplateContent.FromString(CUP.SerializeToString())
    with_example.example_image_id = image_id
    await create(gallery, author, with_example)
    await create(gallery, author, style())

    file = await gallery.call(author, EXPORT)

    assert [content.name for content in file.templates] == ["Cup", "Ink"]
    assert not file.templates[0].example_image_id
    first = await gallery.call(reader, IMPORT, file=file)
    assert (first.created_count, first.known_count) == (2, 0)
    second = await gallery.call(reader, IMPORT, file=file)
    assert (second.created_count, second.known_count) == (0, 2)
    assert (await gallery.call(reader, EXPORT)) == file


async def test_file_with_one_fault_creates_nothing(gallery: Gallery) -> None:
    account_id = new_id()
    file = await gallery.call(account_id, EXPORT)
    file.templates.extend([style(), TemplateContent(kind=STYLE, name="Bad", prompt="no place for it")])
    refusal = await refusal_of(gallery.call(account_id, IMPORT, file=file))
    assert (refusal.reason, refusal.violations[0].field) == (Reason.INVALID_FIELD, "file.templates[1].prompt")
    del file.templates[1]
    file.format = "another"
    refusal = await refusal_of(gallery.call(account_id, IMPORT, file=file))
    assert refusal.violations[0].field == "file.format"
    assert not (await gallery.call(account_id, EXPORT)).templates


async def test_account_has_500_templates_and_not_one_more(gallery: Gallery) -> None:
    account_id = new_id()
    file = await gallery.call(account_id, EXPORT)
    file.templates.extend(style(f"Ink {at}") for at in range(TEMPLATES_OF_AN_ACCOUNT - 1))
    await gallery.call(account_id, IMPORT, file=file)
    outcomes = await asyncio.gather(*(create(gallery, account_id) for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert await gallery.reason(account_id, CREATE, content=CUP) is Reason.TOO_MANY_TEMPLATES
    del file.templates[1:]
    file.templates[0].name = "One more"
    assert await gallery.reason(account_id, IMPORT, file=file) is Reason.TOO_MANY_TEMPLATES


async def test_uses_are_counted_once_for_each_job(gallery: Gallery) -> None:
    account_id = new_id()
    template_id = await create(gallery, account_id)
    for _ in range(2):
        request = import_request(account_id, image_count=2)
        request.template_id, request.style_id = template_id, "style-oil"
        await asyncio.gather(*(gallery.import_job(request) for _ in range(4)))
    counts = {template.template_id: template.use_count for template in await listed(gallery, account_id)}
    assert (counts[template_id], counts["style-oil"], counts["style-flat"]) == (2, 2, 0)
    assert (await gallery.call(new_id(), GET, template_id="style-oil")).use_count == 0


async def test_example_is_shown_while_its_picture_is_there(gallery: Gallery) -> None:
    account_id = new_id()
    (image_id,) = await gallery.take_in(account_id)
    content = TemplateContent.FromString(CUP.SerializeToString())
    content.example_image_id = image_id
    made = await gallery.call(account_id, CREATE, content=content)
    assert image_id in made.example_thumbnail_url
    assert made.content.example_image_id == image_id
    await gallery.call(account_id, "GalleryService.DeleteImage", image_id=image_id)
    hidden = await gallery.call(account_id, GET, template_id=made.template_id)
    assert (hidden.example_thumbnail_url, hidden.HasField("url_expire_time")) == ("", False)
    assert await gallery.reason(account_id, CREATE, content=content) is Reason.IMAGE_NOT_FOUND

    gallery.clock.ahead = timedelta(days=31)
    async with gallery.tasks() as database:
        await ImagePurger(database=database, objects=gallery.objects, now=gallery.clock).purge()
    gallery.clock.ahead = timedelta()

    gone = await gallery.call(account_id, GET, template_id=made.template_id)
    assert (gone.content.example_image_id, gone.content.name) == ("", "Cup")


async def test_what_others_have_isnt_there(gallery: Gallery) -> None:
    owner, stranger = new_id(), new_id()
    template_id = await create(gallery, owner)
    (image_id,) = await gallery.take_in(owner)
    for method, fields in ((GET, {}), (UPDATE, {"content": CUP}), (DELETE, {})):
        reason = await gallery.reason(stranger, method, template_id=template_id, **fields)
        assert reason is Reason.TEMPLATE_NOT_FOUND, method
    filling = {"template_id": template_id, "values": [TemplateValue(name="what", value="a blue cup")]}
    assert await gallery.reason(stranger, FILL, **filling) is Reason.TEMPLATE_NOT_FOUND
    assert (await refusal_of(gallery.resolve(stranger, **filling))).reason is Reason.TEMPLATE_NOT_FOUND
    foreign = TemplateContent.FromString(CUP.SerializeToString())
    foreign.example_image_id = image_id
    assert await gallery.reason(stranger, CREATE, content=foreign) is Reason.IMAGE_NOT_FOUND
    assert template_id not in [template.template_id for template in await listed(gallery, stranger)]


async def test_queries_without_an_owner_check_find_own_templates_only(gallery: Gallery) -> None:
    owner, stranger = new_id(), new_id()
    template_id = await create(gallery, owner)
    await gallery.take_in(owner, template_id=template_id)
    database = Database(gallery.database.requests_url)
    try:
        for account_id, count in ((owner, 1), (stranger, 0)):
            async with database.transaction(account_id) as transaction:
                found = (await transaction.scalars(select(models.Template.template_id))).all()
                uses = (await transaction.scalars(select(models.TemplateUse.template_id))).all()
            assert (len(found), len(uses)) == (count, count)
    finally:
        await database.close()


async def test_examples_are_changed_while_pictures_are_purged(gallery: Gallery) -> None:
    """Both lock pictures before templates: in the other order they would deadlock."""
    account_id = new_id()
    image_ids = await gallery.take_in(account_id, 8)
    content = TemplateContent.FromString(CUP.SerializeToString())
    content.example_image_id = image_ids[0]
    template_id = await create(gallery, account_id, content)

    async def change(image_id: str) -> None:
        renewed = TemplateContent.FromString(CUP.SerializeToString())
        renewed.example_image_id = image_id
        await gallery.call(account_id, UPDATE, template_id=template_id, content=renewed)

    async with gallery.tasks() as database:

        async def purge(image_id: str) -> None:
            async with database.transaction() as transaction:
                await queries.delete_purged(transaction, [UUID(image_id)], gallery.clock())

        for gone, kept in itertools.pairwise(image_ids):
            await gallery.call(account_id, "GalleryService.DeleteImage", image_id=gone, permanently=True)
            await asyncio.gather(purge(gone), change(kept))
    assert (await gallery.call(account_id, GET, template_id=template_id)).content.example_image_id == image_ids[-1]
