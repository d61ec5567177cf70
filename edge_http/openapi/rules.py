"""The rules of a field (protovalidate) as keywords of JSON Schema.

What JSON Schema can't say, such as a limit in bytes or an expression in CEL, is said in words. The limits of 64-bit numbers
are in words too, because in JSON those are strings.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

Schema = dict[str, Any]

_SMALL_NUMBERS: Final = ("int32", "sint32", "sfixed32", "float", "double")
_LARGE_NUMBERS: Final = ("int64", "sint64", "sfixed64")
_LIMITS: Final[Mapping[str, tuple[str, str]]] = {
    "gte": ("minimum", "at least"),
    "gt": ("exclusiveMinimum", "above"),
    "lte": ("maximum", "at most"),
    "lt": ("exclusiveMaximum", "below"),
}
_FORMATS: Final[Mapping[str, str]] = {
    "email": "email",
    "uuid": "uuid",
    "uri": "uri",
    "uri_ref": "uri-reference",
    "hostname": "hostname",
    "ipv4": "ipv4",
    "ipv6": "ipv6",
}

# Expressions in CEL that JSON Schema can say as well. What stands here is found by the whole expression, so that it can't
# say anything else than the contract. RE2's \\s are these five characters.
_EXPRESSIONS: Final[Mapping[str, Schema]] = {
    "this == 0 || (this >= 64 && this <= 4096 && this % 8 == 0)": {"minimum": 0, "maximum": 4096, "multipleOf": 8},
    r"this.matches('[^\\s]')": {"pattern": r"[^\t\n\f\r ]"},
}


def rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """Returns the rules of a field, which are empty for one that has none."""
    rules: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.field]
    return rules


def needs_branch(oneof: OneofDescriptor) -> bool:
    """Returns whether one of the branches must be given."""
    return bool(oneof.GetOptions().Extensions[validate_pb2.oneof].required)


def must_be_given(field: FieldDescriptor) -> bool:
    """Returns whether a request without the field breaks its rules: the zero that stands for it isn't allowed."""
    rules = rules_of(field)
    if rules.required:
        return True
    if field.has_presence or rules.ignore != validate_pb2.IGNORE_UNSPECIFIED:
        return False
    kind = rules.WhichOneof("type")
    return kind is not None and _refuses_zero(kind, getattr(rules, kind))


def keywords_of(field: FieldDescriptor) -> Schema:
    """Returns the keywords for a field's value, with `description` for what has none."""
    rules = rules_of(field)
    keywords = _typed(rules)
    if field.is_repeated and rules.repeated.HasField("items"):
        items = _typed(rules.repeated.items)
        if field.enum_type is not None:
            items = _enum_keywords(rules.repeated.items.enum, field)
        keywords["items"] = items
    elif field.enum_type is not None:
        keywords |= _enum_keywords(rules.enum, field)
    for each in rules.cel:
        keywords |= _EXPRESSIONS.get(each.expression, {})
    keywords["description"] = " ".join([*keywords.get("description", "").split(), *_in_words(rules.cel)])
    if rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE and "format" in keywords:
        # Empty means absent.
        keywords["anyOf"] = [{"format": keywords.pop("format")}, {"maxLength": 0}]
    return {name: value for name, value in keywords.items() if value not in ("", {}, [])}


def message_rules_in_words(descriptor: Descriptor) -> str:
    """Returns what the rules over several fields of a message say."""
    return " ".join(_in_words(descriptor.GetOptions().Extensions[validate_pb2.message].cel))


def _typed(rules: validate_pb2.FieldRules) -> Schema:
    kind = rules.WhichOneof("type")
    if kind is None:
        return {}
    typed: Any = getattr(rules, kind)
    if kind == "string":
        return _string_keywords(typed)
    if kind in _SMALL_NUMBERS:
        return _number_keywords(typed)
    if kind in _LARGE_NUMBERS:
        return {"description": _number_in_words(typed)}
    if kind in ("repeated", "map"):
        return _collection_keywords(typed)
    return {}


def _string_keywords(rules: validate_pb2.StringRules) -> Schema:
    keywords: Schema = {}
    if rules.len:
        keywords |= {"minLength": rules.len, "maxLength": rules.len}
    if rules.min_len:
        keywords["minLength"] = rules.min_len
    if rules.HasField("max_len"):
        keywords["maxLength"] = rules.max_len
    if rules.HasField("max_bytes"):
        # As many characters as bytes at most.
        keywords.setdefault("maxLength", rules.max_bytes)
        keywords["description"] = f"At most {rules.max_bytes:,} bytes in UTF-8."
    if rules.HasField("const"):
        keywords["const"] = rules.const
    if getattr(rules, "in"):
        keywords["enum"] = list(getattr(rules, "in"))
    if rules.not_in:
        keywords["not"] = {"enum": list(rules.not_in)}
    if pattern := _pattern(rules):
        keywords["pattern"] = pattern
    known: str | None = rules.WhichOneof("well_known")
    if known is not None and known in _FORMATS and getattr(rules, known):
        keywords["format"] = _FORMATS[known]
    return keywords


def _pattern(rules: validate_pb2.StringRules) -> str:
    """Returns the regular expression; RE2's syntax is taken for JavaScript's, of which contracts use the common part."""
    if rules.pattern:
        return rules.pattern
    if rules.prefix:
        return "^" + re.escape(rules.prefix)
    return re.escape(rules.suffix) + "$" if rules.suffix else re.escape(rules.contains)


def _number_keywords(rules: Any) -> Schema:
    keywords: Schema = {_LIMITS[name][0]: getattr(rules, name) for name in _limits(rules)}
    if rules.HasField("const"):
        keywords["const"] = rules.const
    if getattr(rules, "in"):
        keywords["enum"] = list(getattr(rules, "in"))
    return keywords


def _number_in_words(rules: Any) -> str:
    words = [f"{_LIMITS[name][1]} {getattr(rules, name)}" for name in _limits(rules)]
    return f"Must be {' and '.join(words)}." if words else ""


def _limits(rules: Any) -> list[str]:
    return [name for name in _LIMITS if rules.HasField(name)]


def _collection_keywords(rules: Any) -> Schema:
    names = (
        {"min_items": "minItems", "max_items": "maxItems"}
        if isinstance(rules, validate_pb2.RepeatedRules)
        else {"min_pairs": "minProperties", "max_pairs": "maxProperties"}
    )
    keywords: Schema = {names[name]: getattr(rules, name) for name in names if rules.HasField(name)}
    if isinstance(rules, validate_pb2.RepeatedRules) and rules.unique:
        keywords["uniqueItems"] = True
    return keywords


def _enum_keywords(rules: validate_pb2.EnumRules, field: FieldDescriptor) -> Schema:
    numbers, refused = set(getattr(rules, "in")), set(rules.not_in)
    if rules.HasField("const"):
        numbers = {rules.const}
    if (not numbers and not refused) or field.enum_type is None:
        return {}
    values = field.enum_type.values
    return {
        "enum": [each.name for each in values if (not numbers or each.number in numbers) and each.number not in refused]
    }


def _refuses_zero(kind: str, rules: Any) -> bool:
    allowed = getattr(rules, "in", ())
    if kind == "string":
        is_known = rules.WhichOneof("well_known") in _FORMATS
        needs_text = (
            rules.min_len,
            rules.len,
            rules.min_bytes,
            rules.const,
            rules.prefix,
            rules.suffix,
            rules.contains,
        )
        return is_known or any(needs_text) or _lacks(allowed, "")
    if kind == "enum":
        return 0 in rules.not_in or rules.const > 0 or _lacks(allowed, 0)
    if kind in (*_SMALL_NUMBERS, *_LARGE_NUMBERS):
        is_above = (rules.HasField("gte") and rules.gte > 0) or (rules.HasField("gt") and rules.gt >= 0)
        return is_above or _lacks(allowed, 0)
    counted = {"repeated": "min_items", "map": "min_pairs", "bytes": "min_len"}
    return kind in counted and getattr(rules, counted[kind]) > 0


def _lacks(allowed: Any, zero: object) -> bool:
    """Returns whether only some values are allowed and this is none of them."""
    return len(allowed) > 0 and zero not in allowed


def _in_words(rules: Iterable[validate_pb2.Rule]) -> list[str]:
    return [f"{each.message[:1].upper()}{each.message[1:].rstrip('.')}." for each in rules if each.message]
