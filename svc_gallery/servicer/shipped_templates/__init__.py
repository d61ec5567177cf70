"""Owns the templates that come with the platform: `english.json` holds them, `korean.json` what people read of them in Korean.

Their prompts and the values of their choices are English in both languages, since that is what models were taught in.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, Self

from google.protobuf.json_format import ParseDict
from pingvas.gallery.v1 import template_pb2

DEFAULT_LANGUAGE: Final = "en"


class ShippedTemplates:
    """The templates of the platform, in both languages, in the order in which they are listed."""

    def __init__(self, languages: Mapping[str, Sequence[template_pb2.Template]]) -> None:
        """Takes the templates of each language, the same ones in the same order."""
        self._languages = {
            language: {template.template_id: template for template in templates}
            for language, templates in languages.items()
        }

    @classmethod
    def load(cls) -> Self:
        """Reads the files beside this module."""
        english = [ParseDict(each, template_pb2.Template()) for each in _read("english.json")["templates"]]
        return cls({"en": english, "ko": _translated(english, _read("korean.json"))})

    def list(self, language: str = "") -> Sequence[template_pb2.Template]:
        """Returns all of them; "" stands for the default language."""
        return list(self._languages[language or DEFAULT_LANGUAGE].values())

    def find(self, template_id: str, language: str = "") -> template_pb2.Template | None:
        """Returns one of them, if it is one."""
        return self._languages[language or DEFAULT_LANGUAGE].get(template_id)


def _read(name: str) -> Mapping[str, Any]:
    content: dict[str, Any] = json.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))
    return MappingProxyType(content)


def _translated(
    templates: Sequence[template_pb2.Template], words: Mapping[str, Any]
) -> Sequence[template_pb2.Template]:
    translated = []
    for template in templates:
        copy = template_pb2.Template()
        copy.CopyFrom(template)
        text = words["texts"][template.template_id]
        copy.content.name, copy.content.description = text["name"], text["description"]
        for variable in copy.content.variables:
            variable.label = words["labels"][variable.label]
            for choice in variable.choices:
                choice.label = words["choices"][choice.value]
        translated.append(copy)
    return translated
