"""A JSON body with a field that the contract doesn't have is refused at the edge, by name, before any service is called."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.errors import Reason
from tests.contract.surface import HttpRequest, public_rpcs
from tests.factories.messages import JOB_ID, request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata
from tests.harness_service import Identities

TEXT_TO_IMAGE = "/api/v1/generate/text-to-image"
QUOTE = "/api/v1/generate/quote"
IMAGE_TO_IMAGE = "/api/v1/generate/image-to-image"
FOUR_MEBIBYTES = 4 << 20

BODY_FORMS = [
    pytest.param(str(rpc), form, id=f"{form.verb} {form.template}")
    for rpc in public_rpcs()
    for form in rpc.http_forms
    if form.body
]


@pytest.fixture
def caller(identities: Identities) -> Metadata:
    return identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)


def post(content: bytes, path: str = TEXT_TO_IMAGE) -> HttpRequest:
    return HttpRequest("POST", path, {}, content)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        # Bing-su/adetailer#527 and deepfates/mcp-replicate#6: the names of other tools.
        pytest.param(
            TEXT_TO_IMAGE,
            b'{"prompt":"x","steps":3,"cfg_scale":3,"width":64,"height":64,"sampler_name":"Euler","n_iter":2}',
            {
                "text_to_image.steps": "step_count",
                "text_to_image.cfg_scale": "guidance_scale",
                "text_to_image.width": "width_px",
                "text_to_image.height": "height_px",
                "text_to_image.sampler_name": "scheduler",
                "text_to_image.n_iter": "image_count",
            },
            id="AUTOMATIC1111",
        ),
        pytest.param(
            TEXT_TO_IMAGE,
            b'{"prompt":"x","num_inference_steps":3,"guidance":3,"num_images":1,"batch_size":4,"numInferenceSteps":1}',
            {
                "text_to_image.num_inference_steps": "step_count",
                "text_to_image.guidance": "guidance_scale",
                "text_to_image.num_images": "image_count",
                "text_to_image.batch_size": "image_count",
                "text_to_image.numInferenceSteps": "step_count",
            },
            id="diffusers",
        ),
        pytest.param(TEXT_TO_IMAGE, b'{"widht_px":64}', {"text_to_image.widht_px": "width_px"}, id="swapped letters"),
        pytest.param(TEXT_TO_IMAGE, b'{"Prompt":"x"}', {"text_to_image.Prompt": "prompt"}, id="upper case"),
        pytest.param(TEXT_TO_IMAGE, b'{"step-count":1}', {"text_to_image.step-count": "step_count"}, id="hyphen"),
        pytest.param(TEXT_TO_IMAGE, b'{"negative":"x"}', {"text_to_image.negative": "negative_prompt"}, id="beginning"),
        pytest.param(TEXT_TO_IMAGE, b'{"\\u0073teps":3}', {"text_to_image.steps": "step_count"}, id="escaped name"),
        pytest.param(
            TEXT_TO_IMAGE, b'{"steps":3, "steps":4, "prompt":"x"}', {"text_to_image.steps": "step_count"}, id="twice"
        ),
        pytest.param(
            TEXT_TO_IMAGE,
            b'{"prompt":"x","loras":[{"model_id":"a","wieght":1},{"modelId":"b","wieght":2}]}',
            {"text_to_image.loras[0].wieght": "weight", "text_to_image.loras[1].wieght": "weight"},
            id="in a list",
        ),
        pytest.param(
            IMAGE_TO_IMAGE,
            b'{"prompt":"x","source":{"imageid":"a"},"denoising_strength":0.5}',
            {"image_to_image.source.imageid": "image_id", "image_to_image.denoising_strength": "strength"},
            id="in a message",
        ),
        pytest.param(
            QUOTE,
            b'{"textToImage":{"prompt":"x","loras":[{"wieght":1}]},"text_to_imag":{"anything":1}}',
            {"textToImage.loras[0].wieght": "weight", "text_to_imag": "text_to_image"},
            id="whole request",
        ),
        # What the JSON parser behind the check tolerates must not be a way around it.
        pytest.param(
            TEXT_TO_IMAGE, b"{'prompt':'x','steps':3}", {"text_to_image.steps": "step_count"}, id="apostrophe"
        ),
        pytest.param(TEXT_TO_IMAGE, b"{prompt:'x',steps:3}", {"text_to_image.steps": "step_count"}, id="no quotes"),
        pytest.param(
            TEXT_TO_IMAGE, b'{"prompt":"x","steps":3,}', {"text_to_image.steps": "step_count"}, id="last comma"
        ),
        pytest.param(
            TEXT_TO_IMAGE, b'{\x0b"steps"\x0c:\r3\n,"prompt":"x"}', {"text_to_image.steps": "step_count"}, id="spaces"
        ),
        pytest.param(
            TEXT_TO_IMAGE,
            b'{"loras":[[{"wieght":1}]]}',
            {"text_to_image.loras[0][0].wieght": "weight"},
            id="list in a list",
        ),
    ],
)
async def test_unknown_field_is_refused_with_the_nearest_known_one(
    path: str, body: bytes, expected: dict[str, str], edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    status, refusal = await edge.refusal_by_http(post(body, path), caller)
    assert (status, refusal.reason) == (400, Reason.REQUEST_MALFORMED)
    described = {violation.field: violation.description for violation in refusal.violations}
    assert described == {field: f"unknown field; did you mean `{known}`?" for field, known in expected.items()}
    assert all(f"{field} (did you mean `{known}`?)" in refusal.message for field, known in expected.items())
    assert platform.calls == []


async def test_name_like_no_other_is_refused_with_the_known_ones(edge: Edge, caller: Metadata) -> None:
    body = json.dumps({"prompt": "x", "loras": [{"zzzzzzzz": 1}]}).encode()
    _, refusal = await edge.refusal_by_http(post(body), caller)
    (violation,) = refusal.violations
    assert violation.field == "text_to_image.loras[0].zzzzzzzz"
    assert violation.description == "unknown field; the fields here are model_id, weight"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('a"b\\c\n', 'a"b\\c\n'),
        ("größe", "größe"),
        ("大きさ", "大きさ"),
        ("", '""'),
        ("n" * 5_000, "n" * 64 + "..."),
        ("%REQ(AUTHORIZATION)%", "%REQ(AUTHORIZATION)%"),
    ],
)
async def test_any_name_is_shown_as_it_is(name: str, shown: str, edge: Edge, caller: Metadata) -> None:
    body = json.dumps({"prompt": "x", name: 1}, ensure_ascii=False).encode()
    _, refusal = await edge.refusal_by_http(post(body), caller)
    assert [violation.field for violation in refusal.violations] == [f"text_to_image.{shown}"]


async def test_name_that_is_no_text_is_refused_in_valid_json(edge: Edge, caller: Metadata) -> None:
    _, refusal = await edge.refusal_by_http(post(b'{"prompt":"x","a\xff\xfe\xc3":1}'), caller)
    assert [violation.field for violation in refusal.violations] == ["text_to_image.a???"]


async def test_flood_of_unknown_fields_gets_a_short_answer(edge: Edge, caller: Metadata) -> None:
    body = json.dumps({f"unknown_{number}": number for number in range(100_000)}).encode()
    _, refusal = await edge.refusal_by_http(post(body), caller)
    assert len(refusal.violations) == 20


@pytest.mark.parametrize(
    "path",
    [
        f"{TEXT_TO_IMAGE}/",
        f"{TEXT_TO_IMAGE}//",
        "/api//v1/generate/text-to-image",
        "/api/v1/generate/./text-to-image",
        "/api/v1/generate/text%2Dto%2Dimag%65",
        f"{TEXT_TO_IMAGE}?request_id=a",
        f"{TEXT_TO_IMAGE}/?request_id=a",
    ],
)
async def test_other_spelling_of_the_path_is_no_way_around(
    path: str, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    answer = await edge.http.post(path, content=b'{"prompt":"x","steps":3}', headers=dict(caller))
    assert answer.status_code == 400
    assert "step_count" in answer.text
    assert platform.calls == []


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/json; charset=utf-8", "application/JSON"])
async def test_content_type_is_no_way_around(
    content_type: str | None, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    headers = dict(caller) | ({"content-type": content_type} if content_type else {})
    answer = await edge.http.post(TEXT_TO_IMAGE, content=b'{"prompt":"x","steps":3}', headers=headers)
    assert answer.status_code == 400
    assert platform.calls == []


@pytest.mark.parametrize(("rpc", "form"), BODY_FORMS)
async def test_every_body_knows_its_fields_by_both_spellings_and_no_other(
    rpc: str, form: Any, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    message = request_for(rpc, form.body)
    request = form.request(message)
    assert (await edge.call_http(request, caller)).status_code == 200
    inner = getattr(message, form.body) if form.body != "*" else message
    camel = json_format.MessageToDict(inner)
    variables = [field for field in camel if f"{{{field}}}" in form.template]
    camel = {name: value for name, value in camel.items() if name not in variables}
    again = HttpRequest(request.verb, request.path, request.query, json.dumps(camel).encode())
    assert (await edge.call_http(again, caller)).status_code == 200
    unknown = HttpRequest(request.verb, request.path, request.query, json.dumps(camel | {"qqqqqqqq": 1}).encode())
    _, refusal = await edge.refusal_by_http(unknown, caller)
    prefix = "" if form.body == "*" else f"{form.body}."
    assert [violation.field for violation in refusal.violations] == [f"{prefix}qqqqqqqq"]
    assert len(platform.calls_of(rpc)) == 2


async def test_largest_body_is_checked_at_its_end(edge: Edge, platform: PublicPlatform, caller: Metadata) -> None:
    body = json.dumps({"prompt": 'say "x" ' * (FOUR_MEBIBYTES // 11), "steps": 3}).encode()
    assert FOUR_MEBIBYTES * 9 // 10 < len(body) < FOUR_MEBIBYTES
    _, refusal = await edge.refusal_by_http(post(body), caller)
    assert [violation.field for violation in refusal.violations] == ["text_to_image.steps"]


@pytest.mark.parametrize("item", [b"{}", b"1", b'"a"', b"[]"])
async def test_list_of_a_million_items_is_refused_by_its_path(
    item: bytes, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    body = b'{"prompt":"x","loras":[' + b",".join([item] * 1_000_000) + b"]}"
    status, refusal = await edge.refusal_by_http(post(body), caller)
    assert (status, refusal.reason) == (400, Reason.INVALID_FIELD)
    (violation,) = refusal.violations
    assert (violation.field, violation.description) == ("text_to_image.loras", "must have fewer than 1000 items")
    assert platform.calls == []


async def test_list_that_the_edge_lets_pass_is_refused_by_its_contract(edge: Edge, caller: Metadata) -> None:
    body = b'{"prompt":"x","loras":[' + b",".join([b"{}"] * 1_000) + b"]}"
    _, refusal = await edge.refusal_by_http(post(body), caller)
    described = {violation.field: violation.description for violation in refusal.violations}
    assert described == {"text_to_image.loras": "must contain at most 8 item(s)"}


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b'{"loras":' * 100_000, b'{"a":' * 1_000 + b"1" + b"}" * 1_000])
async def test_deep_nesting_is_refused(body: bytes, edge: Edge, caller: Metadata) -> None:
    status, refusal = await edge.refusal_by_http(post(body), caller)
    assert (status, refusal.reason) == (400, Reason.REQUEST_MALFORMED)


# Bodies of any content --------------------------------------------------------------------------------------------

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def values_of(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        single = documents_of(field.message_type, depth - 1)
    else:
        single = {
            FieldDescriptor.CPPTYPE_STRING: st.text(st.characters(codec="utf-8"), max_size=12),
            FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
            FieldDescriptor.CPPTYPE_DOUBLE: st.floats(-1e9, 1e9),
            FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
            FieldDescriptor.CPPTYPE_INT64: st.integers(0, 2**53).map(str),
        }[field.cpp_type]
    return st.lists(single, max_size=3) if field.is_repeated else single


def documents_of(message: Descriptor, depth: int = 3) -> st.SearchStrategy[Any]:
    """Bodies of known fields only, each by either spelling; of a oneof, one member."""
    if depth == 0:
        return st.just({})
    spelled = {
        field: st.tuples(st.sampled_from([field.name, field.json_name]), values_of(field, depth))
        for field in message.fields
    }
    groups = [list(oneof.fields) for oneof in message.oneofs if len(oneof.fields) > 1]
    chosen = [st.sampled_from(group).map(lambda field: field.name) for group in groups]
    return st.tuples(st.sets(st.sampled_from(list(message.fields))), *chosen).flatmap(
        lambda drawn: st.tuples(
            *(
                spelled[field]
                for field in sorted(drawn[0], key=lambda field: field.number)
                if all(field not in group or field.name in drawn[1:] for group in groups)
            )
        ).map(dict)
    )


def objects_in(document: Any, message: Descriptor, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, document
    known = {name: field for field in message.fields for name in (field.name, field.json_name)}
    for name, value in document.items():
        inner = known[name].message_type
        if inner is not None and isinstance(value, list):
            for index, each in enumerate(value):
                yield from objects_in(each, inner, f"{path}.{name}[{index}]")
        elif inner is not None:
            yield from objects_in(value, inner, f"{path}.{name}")


def image_to_image() -> Descriptor:
    (rpc,) = (rpc for rpc in public_rpcs() if str(rpc) == "GenerationService.CreateJob")
    return rpc.descriptor.input_type.fields_by_name["image_to_image"].message_type


def known_names(message: Descriptor) -> set[str]:
    inner = [field.message_type for field in message.fields if field.message_type is not None]
    return {name for field in message.fields for name in (field.name, field.json_name)} | {
        name for each in inner for name in known_names(each)
    }


UNKNOWN_NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=15).filter(
    lambda name: name not in known_names(image_to_image())
)


@FUZZ
@given(document=documents_of(image_to_image()), ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
async def test_known_fields_pass_whatever_they_hold(
    edge: Edge, caller: Metadata, document: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    answer = await edge.call_http(post(body, IMAGE_TO_IMAGE), caller)
    # The contract's rules may refuse the values, which is svc_generation's doing.
    assert "unknown field" not in answer.text
    assert "REQUEST_MALFORMED" not in answer.text


@FUZZ
@given(data=st.data(), document=documents_of(image_to_image()), name=UNKNOWN_NAMES, ascii_only=st.booleans())
async def test_one_unknown_field_anywhere_is_named(
    edge: Edge,
    platform: PublicPlatform,
    caller: Metadata,
    data: st.DataObject,
    document: Any,
    name: str,
    ascii_only: bool,
) -> None:
    path, place = data.draw(st.sampled_from(list(objects_in(document, image_to_image(), "image_to_image"))))
    place[name] = data.draw(st.sampled_from([1, "x", None, {"a": {"b": []}}, [{}, [1]], "\\\"'{["]))
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    status, refusal = await edge.refusal_by_http(post(body, IMAGE_TO_IMAGE), caller)
    assert (status, refusal.reason) == (400, Reason.REQUEST_MALFORMED)
    shown = [violation.field for violation in refusal.violations]
    assert shown == [f"{path}.{name}"] or (ascii_only and not name.isascii() and len(shown) == 1)
    assert platform.calls == []


@FUZZ
@given(place=st.integers(0, 200), junk=st.binary(min_size=1, max_size=3), replaced=st.integers(0, 3))
async def test_broken_body_with_an_unknown_field_never_passes(
    edge: Edge, platform: PublicPlatform, caller: Metadata, place: int, junk: bytes, replaced: int
) -> None:
    head, tail = (
        b'{"qqqqqqqq": 1, ',
        b'"prompt": "a \\"b\\"", "loras": [{"model_id": \'a\', "weight": -1.5e3}], seed: null}',
    )
    at = place % len(tail)
    body = head + tail[:at] + junk + tail[at + replaced :]
    answer = await edge.call_http(post(body), caller)
    assert answer.status_code == 400
    assert platform.calls == []


async def test_grpc_and_grpc_web_are_untouched(edge: Edge, platform: PublicPlatform, caller: Metadata) -> None:
    (rpc,) = (rpc for rpc in public_rpcs() if str(rpc) == "GenerationService.GetJob")
    request: Message = rpc.request_class(job_id=JOB_ID)
    # A field of a later contract: protobuf's own rule is that it is ignored.
    of_later = request.SerializeToString() + b"\xf2\x3f\x01x"
    assert (await edge.call_web(rpc.path, of_later, caller)).code == 0
    await edge.call(rpc, rpc.request_class.FromString(of_later), caller)
    assert len(platform.calls_of(rpc)) == 2
