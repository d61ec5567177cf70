"""`pingvas templates`: prompts that are used often; and the options by which `pingvas generate` uses them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from pingvas.gallery.v1.template_pb2 import TemplateKind, TemplateValue
from pingvas.gallery.v1.template_service_pb2 import (
    CreateTemplateRequest,
    DeleteTemplateRequest,
    ExportTemplatesRequest,
    FillTemplateRequest,
    ImportTemplatesRequest,
    ListTemplatesRequest,
    ListTemplatesResponse,
    TemplateFile,
)
from pingvas.gallery.v1.template_service_pb2_grpc import TemplateServiceStub
from pingvas.generation.v1.job_pb2 import Preset

from studio.cli.client import connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from studio.cli.failures import CommandError, ExitCode
from svc_common import clock

_PAGE: Final = 200
_KINDS: Final = {"prompt": TemplateKind.TEMPLATE_KIND_PROMPT, "style": TemplateKind.TEMPLATE_KIND_STYLE}

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def preset_options(command: CommandT) -> CommandT:
    """Gives a command the options that `preset_of` reads."""
    for option in (
        click.option(
            "--size", "size_preset", default="", help="A size by its name, such as story, for --width, --height."
        ),
        click.option("--style", "style_id", default="", help="Add this style: see `pingvas templates list`."),
        click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A variable of the template."),
        click.option("--template", "template_id", default="", help="Make the prompt of this template."),
    ):
        command = option(command)
    return command


def preset_of(template_id: str, values: Sequence[str], style_id: str, size_preset: str) -> Preset | None:
    """Returns what the options name; None when nothing was given.

    Raises:
        CommandError: a value isn't NAME=VALUE, or is there without a template.
    """
    if values and not template_id:
        raise click.UsageError("--set needs --template.")
    if not (template_id or style_id or size_preset):
        return None
    given = list(map(_value, values))
    return Preset(template_id=template_id, values=given, style_id=style_id, size_preset=size_preset)


@click.group()
def templates() -> None:
    """Keep prompts that you use often."""


@templates.command("list")
@shared_options
@click.option("--kind", type=click.Choice(list(_KINDS)), help="Only those that make a prompt, or only styles.")
@click.option("--language", type=click.Choice(["en", "ko"]), default="en", show_default=True)
@json_option
@pass_shared
def list_templates(shared: Shared, *, kind: str | None, language: str, as_json: bool) -> None:
    """List templates and styles: those of the platform, then your own."""
    wanted = _KINDS[kind] if kind else TemplateKind.TEMPLATE_KIND_UNSPECIFIED
    request = ListTemplatesRequest(page_size=_PAGE, kind=wanted, language=language)
    with connect(shared) as client:
        found = list(client.items(TemplateServiceStub(client.channel).ListTemplates, request))
    if as_json:
        answer = ListTemplatesResponse(templates=found)
        click.echo(json.dumps(MessageToDict(answer, preserving_proto_field_name=True), indent=2, ensure_ascii=False))
        return
    for template in found:
        variables = " ".join(variable.name for variable in template.content.variables)
        click.echo(f"{template.template_id:36}  {template.content.name}{f'  ({variables})' if variables else ''}")


@templates.command("fill")
@shared_options
@click.argument("template_id")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A variable of the template.")
@click.option("--style", "style_id", default="", help="Add this style.")
@click.option("--prompt", default="", help="Your own words.")
@pass_shared
def fill_template(shared: Shared, template_id: str, values: Sequence[str], style_id: str, prompt: str) -> None:
    """Print the prompt that a template makes."""
    request = FillTemplateRequest(
        template_id=template_id, values=list(map(_value, values)), style_id=style_id, prompt=prompt
    )
    with connect(shared) as client:
        filled = client.call(TemplateServiceStub(client.channel).FillTemplate, request)
    click.echo(filled.prompt)
    if filled.negative_prompt:
        click.echo(f"To avoid: {filled.negative_prompt}")


@templates.command("create")
@shared_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@pass_shared
def create_template(shared: Shared, file: Path) -> None:
    """Create a template of FILE, a TemplateContent in JSON, and print its id."""
    request = CreateTemplateRequest(request_id=str(clock.new_id()))
    _parse(file, request.content)
    with connect(shared) as client:
        click.echo(client.call(TemplateServiceStub(client.channel).CreateTemplate, request).template_id)


@templates.command("export")
@shared_options
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@pass_shared
def export_templates(shared: Shared, file: Path) -> None:
    """Write your own templates into FILE, which `pingvas templates import` reads."""
    with connect(shared) as client:
        answer = client.call(TemplateServiceStub(client.channel).ExportTemplates, ExportTemplatesRequest())
    document = MessageToDict(answer, preserving_proto_field_name=True)
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    click.echo(f"Templates written: {len(answer.templates)}")


@templates.command("import")
@shared_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@pass_shared
def import_templates(shared: Shared, file: Path) -> None:
    """Create the templates of FILE that you don't have yet."""
    request = ImportTemplatesRequest(file=TemplateFile())
    _parse(file, request.file)
    with connect(shared) as client:
        answer = client.call(TemplateServiceStub(client.channel).ImportTemplates, request)
    click.echo(f"Created: {answer.created_count}. There before: {answer.known_count}.")


@templates.command("delete")
@shared_options
@click.argument("template_id")
@pass_shared
def delete_template(shared: Shared, template_id: str) -> None:
    """Delete one of your own templates."""
    with connect(shared) as client:
        request = DeleteTemplateRequest(template_id=template_id)
        client.call(TemplateServiceStub(client.channel).DeleteTemplate, request)
    click.echo("Deleted.")


def _value(text: str) -> TemplateValue:
    name, separator, value = text.partition("=")
    if not separator:
        raise click.UsageError(f"--set {text!r} must be NAME=VALUE, as in --set product=teapot.")
    return TemplateValue(name=name.strip(), value=value)


def _parse(file: Path, message: Any) -> None:
    try:
        ParseDict(json.loads(file.read_text(encoding="utf-8")), message)
    except (ValueError, ParseError) as error:
        raise CommandError(
            f"{file} can't be read: {error}",
            advice="`pingvas templates export FILE` shows what such a file looks like.",
            exit_code=ExitCode.USAGE,
        ) from error
