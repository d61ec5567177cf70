"""The OpenAPI document: valid, complete, true to the running bridge, and served to whoever asks."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import httpx
import jsonschema
import protovalidate
import pytest
import pytest_asyncio
import schemathesis
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import validate
from pingvas.gallery.v1 import sharing_service_pb2
from pingvas.user.v1 import identity_service_pb2
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edge_http.openapi.examples import EXAMPLES
from edge_http.openapi.own import OWNERS
from edge_http.own_routes import declared_by
from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.contracts import OPENAPI_DOCUMENT
from svc_common.errors import Reason
from svc_common.scopes import scope_name
from tests.contract.surface import HttpForm, Rpc, public_rpcs
from tests.contract.test_published_paths import OF_THE_BRIDGE
from tests.factories.messages import filled, request_for
from tests.fakes.drawing_platform import ObjectStore
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata
from tests.harness_service import Identities

DOCUMENT: dict[str, Any] = json.loads(OPENAPI_DOCUMENT.read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    (verb.upper(), path): operation for path, verbs in DOCUMENT["paths"].items() for verb, operation in verbs.items()
}
OWN = {
    (verb, path): own for owner in OWNERS for own, _ in declared_by(owner) for verb in own.verbs for path in own.paths
}
# Providers' reports go to svc_payment's internal listener, which isn't part of this platform: billing/test_webhooks sends them.
ANSWERED = [(verb, path) for verb, path in OWN if not path.endswith(("lemon-squeezy", "polar", "payments/webhook"))]
FORMS = {(form.verb, form.template): (rpc, form) for rpc in public_rpcs() for form in rpc.http_forms}
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES_EACH = 12

# What takes nothing and asks for no token can't be asked wrongly.
MODES = [
    pytest.param(mode, rpc, form, id=f"{mode.value}-{verb} {path}")
    for (verb, path), (rpc, form) in FORMS.items()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode == GenerationMode.POSITIVE
    or not rpc.is_anonymous
    or OPERATIONS[verb, path].keys() & {"parameters", "requestBody"}
]
each_form = pytest.mark.parametrize(("rpc", "form"), FORMS.values(), ids=[f"{verb} {path}" for verb, path in FORMS])


@pytest.fixture
def caller(identities: Identities) -> Metadata:
    return identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)


@pytest_asyncio.fixture(scope="module")
async def bridge(bridge_port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{bridge_port}", timeout=20.0) as client:
        yield client


def test_document_is_valid() -> None:
    validate(DOCUMENT)


def test_document_has_every_form_of_every_public_method_and_what_is_the_bridge_s_own() -> None:
    assert FORMS.keys().isdisjoint(OWN)
    assert OPERATIONS.keys() == FORMS.keys() | OWN.keys()
    # All that the product publishes, the heads of pictures, one more provider's reports, and the state of the platform.
    assert OWN.keys() - OF_THE_BRIDGE == {
        ("HEAD", "/api/v1/images/{image_id}/content"),
        ("HEAD", "/api/v1/images/{image_id}/thumbnail"),
        ("POST", "/api/v1/webhooks/polar"),
        ("GET", "/status.json"),
    }
    assert set(OF_THE_BRIDGE) <= OWN.keys()


def test_bytes_are_told_of_with_their_conditions_and_answers() -> None:
    content = OPERATIONS["GET", "/api/v1/images/{image_id}/content"]
    assert {"image_id", "range", "if-range", "if-none-match"} <= {each["name"] for each in content["parameters"]}
    assert {"200", "206", "304", "401", "404", "412", "416", "429"} <= content["responses"].keys()
    assert content["responses"]["206"]["content"].keys() == {"image/png", "image/jpeg", "image/webp"}
    assert "content" not in OPERATIONS["HEAD", "/api/v1/images/{image_id}/content"]["responses"]["200"]
    assert "An API key needs the scope `read`." in content["description"]
    upload = OPERATIONS["POST", "/api/v1/images:upload"]
    assert {"image/png", "multipart/form-data"} <= upload["requestBody"]["content"].keys()
    assert upload["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Upload"
    }
    assert "413" in upload["responses"]
    assert OPERATIONS["GET", "/api/v1/shared/{share_token}/content"]["security"] == []


def test_operations_have_names_of_their_own_and_say_what_they_do() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"\w+", each) for each in ids)
    tags = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert all(tags.values())
    for operation in OPERATIONS.values():
        assert set(operation["tags"]) <= set(tags)
        assert operation["summary"]
        assert operation["description"].startswith(operation["summary"].split(":")[0])


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_and_property_is_described(name: str) -> None:
    assert SCHEMAS[name]["description"]
    assert [key for key, each in SCHEMAS[name].get("properties", {}).items() if "description" not in each] == []


@each_form
def test_operation_says_who_may_call(rpc: Rpc, form: HttpForm) -> None:
    operation = OPERATIONS[form.verb, form.template]
    scope = re.search(r"An API key needs the scope `(\w+)`\.$", operation["description"])
    by_token, by_key = {"access_token": []}, {"api_key": []}
    wanted = [] if rpc.is_anonymous else [by_token, by_key] if scope else [by_token]
    assert operation.get("security", DOCUMENT["security"]) == wanted
    assert (scope[1] if scope else "") == scope_name(rpc.rule.scope)
    assert ("401" in operation["responses"]) or rpc.is_anonymous


def test_refusals_are_told_with_their_reasons_samples_and_advice() -> None:
    responses = OPERATIONS["POST", "/api/v1/generate/text-to-image"]["responses"]
    assert "INSUFFICIENT_CREDITS" in responses["402"]["content"]["application/json"]["examples"]
    assert "- `QUEUE_FULL`: As many jobs wait as the tier allows" in responses["429"]["description"]
    sample = DOCUMENT["components"]["examples"]["INSUFFICIENT_CREDITS"]["value"]
    assert sample["details"][0]["metadata"] == {"balance": "1.250", "price": "2.000"}
    assert set(re.findall(r"^- `(\w+)`", SCHEMAS["Reason"]["description"], re.MULTILINE)) == set(Reason)


@pytest.mark.parametrize("name", DOCUMENT["components"]["examples"])
def test_sample_of_a_refusal_fits_its_schema(name: str) -> None:
    assert_fits(DOCUMENT["components"]["examples"][name]["value"], "Status")


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_what_the_contract_allows(name: str) -> None:
    message_class = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
    protovalidate.validate(json_format.ParseDict(EXAMPLES[name], message_class()))
    schema = name.rpartition(".")[2]
    assert_fits(SCHEMAS[schema]["examples"][0], schema)


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        ("TemplateContent", {"kind": "TEMPLATE_KIND_STYLE", "name": "", "prompt": "{{prompt}}"}),
        ("TemplateVariable", {"name": "Two words"}),
        ("TextToImage", {"prompt": "x" * 2001}),
        ("TextToImage", {"prompt": "x", "width_px": 100}),
        ("TextToImage", {"prompt": "x", "step_count": 151}),
        ("TemplateContent", {}),
        ("Upscale", {"source": {"image_id": EXAMPLES["pingvas.user.v1.User"]["user_id"]}, "scale_factor": 3}),
        ("CreateJobRequest", {}),
        ("CreateJobRequest", {"text_to_image": {"prompt": "x"}, "upscale": {"source": {"image_id": "x"}}}),
        ("CreateUploadRequest", {"content_type": "image/gif", "size_bytes": "1"}),
    ],
)
def test_rules_of_the_contracts_are_rules_of_the_document(schema: str, document: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        assert_fits(document, schema)


@pytest.mark.parametrize(("mode", "rpc", "form"), MODES)
async def test_bridge_answers_as_the_document_says(
    mode: GenerationMode, rpc: Rpc, form: HttpForm, bridge_port: int, platform: PublicPlatform, caller: Metadata
) -> None:
    """Requests that fit the document, and such that don't, never find a server error or an answer that isn't told of."""
    operation = schemathesis.openapi.from_dict(DOCUMENT)[form.template][form.verb]

    @settings(
        max_examples=EXAMPLES_EACH,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: schemathesis.Case) -> None:
        answer = case.call(base_url=f"http://127.0.0.1:{bridge_port}", headers=dict(caller), timeout=20)
        case.validate_response(answer, checks=CHECKS)

    platform.answers[str(rpc)] = lambda _: _as_services_answer(rpc)
    # In a thread, since the bridge runs in this one.
    await asyncio.to_thread(call)
    assert platform.breaches == []


@pytest.mark.parametrize(("verb", "path"), ANSWERED, ids=[f"{verb} {path}" for verb, path in ANSWERED])
async def test_bridge_answers_on_its_own_routes_as_the_document_says(
    verb: str, path: str, bridge_port: int, studio: PublicPlatform, store: ObjectStore, caller: Metadata
) -> None:
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][verb]

    @settings(
        max_examples=EXAMPLES_EACH,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def call(case: schemathesis.Case) -> None:
        answer = case.call(
            base_url=f"http://127.0.0.1:{bridge_port}", headers=dict(caller), timeout=20, allow_redirects=False
        )
        case.validate_response(answer, checks=CHECKS)

    async def shared(_: Message) -> Message:
        return sharing_service_pb2.SharedImage(content_url=store.url, content_type="image/png")

    async def begun(_: Message) -> Message:
        return identity_service_pb2.SignInAttempt(
            authorization_url="https://provider.example/sign-in", browser_secret="x" * 43
        )

    async def completed(_: Message) -> Message:
        return identity_service_pb2.CompleteSignInResponse(loopback_url="http://127.0.0.1:5000/?code=x")

    studio.answers |= {
        "SharingService.GetSharedImage": shared,
        "IdentityService.BeginSignIn": begun,
        "IdentityService.CompleteSignIn": completed,
    }
    await asyncio.to_thread(call)
    assert studio.breaches == []


async def test_document_is_served_by_the_edge_without_a_token(bridge: httpx.AsyncClient, edge: Edge) -> None:
    ours, theirs = await bridge.get("/openapi.json"), await edge.http.get("/openapi.json")
    assert ours.json() == theirs.json() == DOCUMENT
    assert ours.headers["content-type"] == theirs.headers["content-type"] == "application/json"
    # Asked for again each time, since a new release changes it.
    assert theirs.headers["cache-control"] == "no-cache"


async def _as_services_answer(rpc: Rpc) -> Message:
    """Returns an answer with something in every field; what a request brought comes back as it was, within its rules."""
    answer = filled(rpc.response_class)
    _put_back(answer, {each.DESCRIPTOR.full_name: each for each in _SENT})
    return answer


def _put_back(message: Message, sent: dict[str, Message]) -> None:
    for field, value in message.ListFields():
        for each in _messages(field, value):
            if (known := sent.get(field.message_type.full_name)) is not None:
                each.CopyFrom(known)
            else:
                _put_back(each, sent)


def _inner(message: Message) -> Iterator[Message]:
    for field, value in message.ListFields():
        for each in _messages(field, value):
            yield each
            yield from _inner(each)


def _messages(field: FieldDescriptor, value: Any) -> Iterable[Message]:
    """Returns the messages that a field holds; maps hold texts only."""
    if field.message_type is None or field.message_type.GetOptions().map_entry:
        return ()
    return value if field.is_repeated else (value,)


_SENT = [inner for rpc, form in FORMS.values() for inner in _inner(request_for(str(rpc), form.body))]


def assert_fits(document: object, schema: str) -> None:
    validator = jsonschema.Draft202012Validator({**DOCUMENT, "$ref": f"#/components/schemas/{schema}"})
    validator.validate(document)
