"""How the OpenAPI document says what contracts say: comments, and rules that the present contracts don't have."""

from typing import Any

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from edge_http.openapi.comments import comments_of, markdown, method_comment, reason_comment
from edge_http.openapi.rules import keywords_of, must_be_given

STRING, INT32, INT64 = (
    FieldDescriptorProto.TYPE_STRING,
    FieldDescriptorProto.TYPE_INT32,
    FieldDescriptorProto.TYPE_INT64,
)
REPEATED, OPTIONAL = FieldDescriptorProto.LABEL_REPEATED, FieldDescriptorProto.LABEL_OPTIONAL


def message_with(kind: Any, label: Any = OPTIONAL, **rules: Any) -> Descriptor:
    """Returns a message whose only field has these rules."""
    file = FileDescriptorProto(name="toy.proto", package="toy", syntax="proto3")
    field = file.message_type.add(name="Toy").field.add(name="value", number=1, type=kind, label=label)
    field.options.Extensions[validate_pb2.field].CopyFrom(validate_pb2.FieldRules(**rules))
    pool = DescriptorPool()
    pool.Add(file)
    return pool.FindMessageTypeByName("toy.Toy")


@pytest.mark.parametrize(
    ("kind", "label", "rules", "keywords", "required"),
    [
        (STRING, OPTIONAL, {"string": {"len": 3}}, {"minLength": 3, "maxLength": 3}, True),
        (STRING, OPTIONAL, {"string": {"pattern": "^[a-z]*$"}}, {"pattern": "^[a-z]*$"}, False),
        (STRING, OPTIONAL, {"string": {"prefix": "a."}}, {"pattern": r"^a\."}, True),
        (STRING, OPTIONAL, {"string": {"uuid": True}}, {"format": "uuid"}, True),
        (
            STRING,
            OPTIONAL,
            {"string": {"uuid": True}, "ignore": validate_pb2.IGNORE_IF_ZERO_VALUE},
            {"anyOf": [{"format": "uuid"}, {"maxLength": 0}]},
            False,
        ),
        (
            STRING,
            OPTIONAL,
            {"string": {"max_bytes": 9}},
            {"maxLength": 9, "description": "At most 9 bytes in UTF-8."},
            False,
        ),
        (STRING, OPTIONAL, {"string": {"in": ["a", "b"]}}, {"enum": ["a", "b"]}, True),
        (STRING, OPTIONAL, {"string": {"in": ["", "b"]}}, {"enum": ["", "b"]}, False),
        (INT32, OPTIONAL, {"int32": {"gt": 0, "lt": 9}}, {"exclusiveMinimum": 0, "exclusiveMaximum": 9}, True),
        (INT32, OPTIONAL, {"int32": {"const": 4}}, {"const": 4}, False),
        (INT64, OPTIONAL, {"int64": {"gte": 1, "lte": 5}}, {"description": "Must be at least 1 and at most 5."}, True),
        (
            STRING,
            REPEATED,
            {"repeated": {"min_items": 1, "unique": True, "items": {"string": {"max_len": 5}}}},
            {"minItems": 1, "uniqueItems": True, "items": {"maxLength": 5}},
            True,
        ),
        (
            INT32,
            OPTIONAL,
            {"cel": [{"id": "even", "message": "must be even", "expression": "this % 2 == 0"}]},
            {"description": "Must be even."},
            False,
        ),
    ],
)
def test_rule_is_a_keyword_or_a_sentence(
    kind: Any, label: Any, rules: dict[str, Any], keywords: dict[str, Any], required: bool
) -> None:
    field = message_with(kind, label, **rules).fields_by_name["value"]
    assert (keywords_of(field), must_be_given(field)) == (keywords, required)


def test_comments_are_found_by_the_names_of_their_elements() -> None:
    file = FileDescriptorProto(name="toy.proto", package="toy")
    message = file.message_type.add(name="Box")
    message.nested_type.add(name="Lid").field.add(name="colour")
    enum = file.enum_type.add(name="Colour")
    enum.value.add(name="RED", number=0)
    for path, words in (
        ((4, 0), " Holds things."),
        ((4, 0, 3, 0, 2, 0), " Tells its colour."),
        ((5, 0, 2, 0), " Is red."),
    ):
        file.source_code_info.location.add(path=path, leading_comments=words + "\n")
    assert comments_of(FileDescriptorSet(file=[file])) == {
        "toy.Box": "Holds things.",
        "toy.Box.Lid.colour": "Tells its colour.",
        "toy.Colour.RED": "Is red.",
    }


def test_comment_is_markdown_with_a_line_for_each_paragraph_and_nothing_that_reads_as_html() -> None:
    comment = "One\nsentence `<a>`.\n\nA <b> list:\n- first\n  goes on\n- second"
    assert markdown(comment) == "One sentence `<a>`.\n\nA \\<b> list:\n- first goes on\n- second"


def test_comment_of_a_method_gives_each_reason_its_advice() -> None:
    told = method_comment(
        "Opens a box: the lid goes up. Repeating it is safe.\n\nErrors:\n"
        "- NOT_FOUND (JOB_NOT_FOUND, IMAGE_NOT_FOUND), INTERNAL (INTERNAL): look\n  elsewhere.\n- Anything else."
    )
    assert told.summary == "Opens a box"
    assert told.description == "Opens a box: the lid goes up. Repeating it is safe."
    assert told.advice == dict.fromkeys(("JOB_NOT_FOUND", "IMAGE_NOT_FOUND", "INTERNAL"), "Look elsewhere.")


def test_comment_of_a_reason_gives_its_words_and_the_sample_s_metadata() -> None:
    told = reason_comment('No such box.\nSample: {"reason": "X", "metadata": {"box": "7"}}')
    assert (told.description, told.metadata) == ("No such box.", {"box": "7"})
