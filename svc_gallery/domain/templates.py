"""Owns how templates become prompts: their notation, what their variables may hold, and how many an account may have.

Who keeps them, and in which form they travel, is left to the store and the servicer.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from svc_common.errors import FieldViolation, Reason, ServiceError

TEMPLATES_OF_AN_ACCOUNT: Final = 500
PROMPT: Final = "prompt"
"""The variable that stands for the job's own prompt."""

_VARIABLE: Final = re.compile(r"\{\{\s*([a-z][a-z0-9_]{0,39})\s*\}\}")
_OF_PROMPT: Final = "content.prompt"


@dataclass(frozen=True, slots=True)
class Variable:
    """What can be put into a template."""

    name: str
    default_value: str
    choices: tuple[str, ...]
    """The only values that it can have; none: any."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What is to be drawn, and what is to be avoided."""

    prompt: str
    negative_prompt: str


def check_content(texts: Texts, variables: Sequence[Variable], *, is_style: bool) -> None:
    """Refuses a template that could never be filled, with every fault at once.

    Raises:
        ServiceError: INVALID_FIELD with paths below `content`.
    """
    faults = list(_faults(texts, variables))
    if is_style:
        if variables:
            faults.append(FieldViolation("content.variables", "must be empty: a style has no variables of its own"))
        if _names(texts.prompt).count(PROMPT) != 1:
            faults.append(FieldViolation(_OF_PROMPT, "must have {{prompt}} once: there the job's own prompt stands"))
    _refuse(faults)


def fill_template(texts: Texts, variables: Sequence[Variable], given: Sequence[tuple[str, str]], own: Texts) -> Texts:
    """Returns the texts of a template with its variables filled in, and the job's own texts in their places.

    Values are taken as they are: braces within them are text.

    Raises:
        ServiceError: INVALID_FIELD, whose paths are `values.NAME` and `prompt`.
    """
    values = _values(variables, given)
    if PROMPT not in _names(texts.prompt):
        prompt = _joined(_filled(texts.prompt, values), own.prompt)
    elif own.prompt.strip():
        prompt = _filled(texts.prompt, {**values, PROMPT: own.prompt.strip()})
    else:
        raise _refusal([FieldViolation(PROMPT, "must be given: the template puts it in the place of {{prompt}}")])
    return Texts(prompt, _joined(own.negative_prompt, _filled(texts.negative_prompt, values)))


def add_style(style: Texts, own: Texts) -> Texts:
    """Returns the job's own texts in the style's."""
    prompt = _filled(style.prompt, {PROMPT: own.prompt.strip()})
    return Texts(prompt, _joined(own.negative_prompt, style.negative_prompt))


def check_template_room(template_count: int) -> None:
    """Refuses more templates than an account may have.

    Raises:
        ServiceError: TOO_MANY_TEMPLATES.
    """
    if template_count > TEMPLATES_OF_AN_ACCOUNT:
        raise ServiceError(
            Reason.TOO_MANY_TEMPLATES,
            f"Your account would have more than {TEMPLATES_OF_AN_ACCOUNT} templates of its own. Delete some first.",
            metadata={"limit": str(TEMPLATES_OF_AN_ACCOUNT)},
        )


def template_not_found(template_id: str) -> ServiceError:
    """Returns the answer for a template that isn't there, isn't the caller's, or is of the other kind."""
    return ServiceError(
        Reason.TEMPLATE_NOT_FOUND,
        f"There is no such template {template_id!r} for this; ListTemplates shows what there is.",
        metadata={"template_id": template_id},
    )


def _faults(texts: Texts, variables: Sequence[Variable]) -> Iterator[FieldViolation]:
    declared = [variable.name for variable in variables]
    used = {*_names(texts.prompt), *_names(texts.negative_prompt)}
    if not texts.prompt.strip():
        yield FieldViolation(_OF_PROMPT, "must not be blank")
    if PROMPT in _names(texts.negative_prompt):
        yield FieldViolation("content.negative_prompt", "can't have {{prompt}}: what is wanted isn't to be avoided")
    for field, text in ((_OF_PROMPT, texts.prompt), ("content.negative_prompt", texts.negative_prompt)):
        for name in dict.fromkeys(_names(text)):
            if name not in (*declared, PROMPT):
                yield FieldViolation(field, f"has {{{{{name}}}}}, which `variables` doesn't describe")
    yield from _faults_of_variables(variables, used)


def _faults_of_variables(variables: Sequence[Variable], used: Collection[str]) -> Iterator[FieldViolation]:
    declared = [variable.name for variable in variables]
    for at, variable in enumerate(variables):
        field = f"content.variables[{at}]"
        if variable.name == PROMPT:
            yield FieldViolation(f"{field}.name", "can't be prompt: that is the job's own prompt")
        elif variable.name in declared[:at]:
            yield FieldViolation(f"{field}.name", f"is there twice: {variable.name}")
        elif variable.name not in used:
            yield FieldViolation(f"{field}.name", f"stands in no text: write {{{{{variable.name}}}}} where it belongs")
        if variable.choices and variable.default_value and variable.default_value not in variable.choices:
            yield FieldViolation(f"{field}.default_value", "must be one of the choices")


def _values(variables: Sequence[Variable], given: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Returns the value of each variable; a blank one counts as not given."""
    known = {variable.name: variable for variable in variables}
    values = {variable.name: variable.default_value for variable in variables}
    faults = []
    for name, value in given:
        if name not in known:
            faults.append(FieldViolation(f"values.{name}", "isn't a variable of this template"))
        elif value.strip():
            values[name] = value.strip()
    for name, value in values.items():
        choices = known[name].choices
        if not value:
            faults.append(FieldViolation(f"values.{name}", "must be given"))
        elif choices and value not in choices:
            faults.append(FieldViolation(f"values.{name}", f"must be one of: {'; '.join(choices)}"))
    _refuse(faults)
    return values


def _names(text: str) -> list[str]:
    return _VARIABLE.findall(text)


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: values[found[1]], text)


def _joined(*texts: str) -> str:
    return ", ".join(text.strip() for text in texts if text.strip())


def _refuse(faults: Sequence[FieldViolation]) -> None:
    if faults:
        raise _refusal(faults)


def _refusal(faults: Sequence[FieldViolation]) -> ServiceError:
    message = "; ".join(f"{fault.field}: {fault.description}" for fault in faults)
    return ServiceError(Reason.INVALID_FIELD, message, violations=faults)
