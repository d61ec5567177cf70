"""Eighth layer: holds the request against the rules in its contract (protovalidate), so that handlers see valid ones only.

One rule is stated in no contract since it holds for every text of all of them: `text_rule`. Lists that are too long are
refused before their items are looked at: `size_rule`.
"""

import re
from typing import Final

from google.protobuf.message import Message
from protovalidate import FieldPathElementPb as FieldPathElement
from protovalidate import Validator, Violation

from svc_common.caller import Call
from svc_common.errors import FieldViolation, Reason, ServiceError
from svc_common.interceptors.hooks import Hooks
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.method import Method
from svc_common.interceptors.size_rule import size_violations
from svc_common.interceptors.text_rule import text_violations

_ONE: Final = re.compile(r"\b1 (character|byte|item|pair)s\b")
_ABOUT_FIELD: Final = "field."

# One for the process: it compiles the rules of each message once.
_validator = Validator()


class Validation:
    """Refuses requests that break a rule, with every violation at once."""

    def __init__(self, verifiers: Verifiers) -> None:
        """Needs nothing."""

    def bind(self, method: Method) -> Hooks:
        """Compiles the rules of the request, so that a mistake in them stops the start, and returns the hook that checks."""
        _validator.collect_violations(method.request_class())
        text_violations(method.request_class())
        return Hooks(before=_validate)


def _validate(_: Call, request: Message) -> None:
    if violations := size_violations(request):
        raise _invalid(violations)
    violations = text_violations(request)
    violations += [FieldViolation(_path(each), _description(each)) for each in _validator.collect_violations(request)]
    if violations:
        raise _invalid(violations)


def _invalid(violations: list[FieldViolation]) -> ServiceError:
    summary = "; ".join(f"{each.field}: {each.description}" if each.field else each.description for each in violations)
    return ServiceError(Reason.INVALID_FIELD, f"The request breaks its contract. {summary}.", violations=violations)


def _description(violation: Violation) -> str:
    """Returns what the rule says, in words that suit its number: `at least 1 characters` is no English."""
    rule = violation.proto.rule_id
    if rule in ("string.min_len", "string.min_bytes") and violation.rule_value == 1:
        return "must not be empty"
    return _ONE.sub(r"1 \1", violation.proto.message)


def _path(violation: Violation) -> str:
    """Returns the field's path as clients write it, such as `text_to_image.loras[2].weight`; empty for the whole message.

    A rule of a whole message, which can compare fields, names the one that it is about by its id: `field.prompt`.
    """
    field = violation.proto.field
    elements = [] if field is None else [_path_element(element) for element in field.elements]
    if violation.proto.rule_id.startswith(_ABOUT_FIELD):
        elements.append(violation.proto.rule_id.removeprefix(_ABOUT_FIELD))
    return ".".join(elements)


def _path_element(element: FieldPathElement) -> str:
    if element.subscript is None:
        return element.field_name
    return f"{element.field_name}[{element.subscript.value!r}]"
