"""What is read out of contracts for Envoy and the bridge, on contracts made for each case."""

import re

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from pingvas.common.v1 import authorization_pb2

from svc_common.contracts import HttpBinding, public_methods

ANONYMOUS = authorization_pb2.AUDIENCE_ANONYMOUS
USER = authorization_pb2.AUDIENCE_USER
SERVICE = authorization_pb2.AUDIENCE_SERVICE


def contract(methods: dict[str, int], package: str = "pingvas.toy.v1") -> FileDescriptorProto:
    file = FileDescriptorProto(name="toy.proto", package=package)
    service = file.service.add(name="ToyService")
    for name, audience in methods.items():
        method = service.method.add(name=name)
        if audience:
            method.options.Extensions[authorization_pb2.authorization].audience = audience
        rule = method.options.Extensions[annotations_pb2.http]
        rule.get = f"/api/v1/toys/{{toy_id}}:{name}"
        rule.additional_bindings.add(post=f"/api/v1/{name}", body="*")
    return file


def serialised(*files: FileDescriptorProto) -> bytes:
    return FileDescriptorSet(file=files).SerializeToString()


def test_public_methods_are_read_with_their_forms() -> None:
    anonymous, user = public_methods(serialised(contract({"Look": ANONYMOUS, "Play": USER})))
    assert (anonymous.path, anonymous.anonymous, anonymous.area) == ("/pingvas.toy.v1.ToyService/Look", True, "toy")
    assert (user.path, user.anonymous) == ("/pingvas.toy.v1.ToyService/Play", False)
    assert user.bindings == (HttpBinding("GET", "/api/v1/toys/{toy_id}:Play"), HttpBinding("POST", "/api/v1/Play", "*"))
    assert not user.reads_only


def test_internal_methods_and_other_packages_are_left_out() -> None:
    internal = contract({"Break": SERVICE})
    foreign = contract({"Look": ANONYMOUS}, package="elsewhere.v1")
    assert public_methods(serialised(internal, foreign)) == ()


def test_method_without_a_rule_is_not_public() -> None:
    assert public_methods(serialised(contract({"Forgotten": 0}))) == ()


def test_service_with_public_and_internal_methods_is_refused() -> None:
    with pytest.raises(ValueError, match="ToyService has public and internal methods"):
        public_methods(serialised(contract({"Look": USER, "Break": SERVICE})))


@pytest.mark.parametrize(
    ("template", "path", "matches"),
    [
        ("/.well-known/jwks.json", "/.well-known/jwks.json", True),
        ("/.well-known/jwks.json", "/xwell-known/jwksxjson", False),
        ("/api/v1/jobs/{job_id}:cancel", "/api/v1/jobs/7:cancel", True),
        ("/api/v1/jobs/{job_id}", "/api/v1/jobs/7/events", False),
        ("/api/v1/jobs/{job_id}/events", "/api/v1/jobs//events", False),
    ],
)
def test_pattern_matches_what_the_template_means(template: str, path: str, matches: bool) -> None:
    assert bool(re.fullmatch(HttpBinding("GET", template).pattern, path)) == matches


def test_pattern_of_a_variable_with_several_segments_is_refused() -> None:
    with pytest.raises(ValueError, match="several segments"):
        _ = HttpBinding("GET", "/api/v1/{name=files/**}").pattern
