"""`pingvas generate` and `pingvas upscale`: from a wish to a file, with everything to see on the way."""

import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

import click
import httpx
from google.protobuf.json_format import MessageToDict
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.generation.v1.job_pb2 import Job, JobImage, JobState, Upscale
from pingvas_sdk.operations import operation_of, request_of
from rich.console import Console

from studio.cli import recipes, watching
from studio.cli.client import Client, connect
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from studio.cli.failures import CommandError, ExitCode
from studio.cli.operations import (
    Operation,
    build,
    drawing,
    lora_weight,
    partial_lora_lines,
)
from studio.cli.picture import can_show, decode, half_blocks, picture_console
from studio.cli.seeds import Seed
from studio.cli.sources import image_source
from studio.cli.templates import preset_of, preset_options
from studio.cli.webhooks import JobWebhook, webhook_of, webhook_options

_DEFAULT_OUT = Path("pingvas-images")
_PICTURE_COLUMNS = 56
_DOWNLOAD_SECONDS = 60.0
_SLUG_CHARACTERS = 40
_out_option = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=_DEFAULT_OUT,
    show_default=True,
    help="Folder for the pictures.",
)


@dataclass(frozen=True, slots=True)
class Result:
    """A job that was completed, and where its pictures were put."""

    job: Job
    files: tuple[Path, ...]


@click.command()
@shared_options
@click.argument("prompt", required=False)
@click.option("--prompt", "prompt_option", help="The same as PROMPT.")
@click.option(
    "--from", "recalled", help="Repeat this picture, with what else is given changed: a file, or an id of the gallery."
)
@click.option("--negative", "negative_prompt", help="What to avoid.")
@click.option("--model", "model_id", help="Default: the default model of the deployment.")
@click.option("--width", "width_px", type=int, help="In pixels, a multiple of 8. Default: the model's own.")
@click.option("--height", "height_px", type=int, help="In pixels, a multiple of 8. Default: the model's own.")
@click.option("--steps", "step_count", type=int, help="Denoising steps. Default: the model's own.")
@click.option(
    "--guidance", "guidance_scale", type=float, help="How closely to follow the prompt. Default: the model's own."
)
@click.option("--seed", type=Seed(), help="Makes the picture repeatable, 0 to 2^53 - 1. Default: drawn by the server.")
@click.option("--new-seed", is_flag=True, help="Draw another seed than that of --from.")
@click.option("--count", "image_count", type=int, help="How many pictures. Default: 1.")
@click.option("--scheduler", help="One of the model's schedulers. Default: its first.")
@click.option("--image", "source", help="Begin with this picture: a file, or an id of the gallery.")
@click.option(
    "--mask", help="Repaint only where this picture is white: a file, or an id of the gallery. Needs --image."
)
@click.option("--strength", type=float, help="How much of the picture may change, 0 to 1. Needs --image.")
@click.option("--feather", "mask_feather_px", type=int, help="Softness of the mask's edge, in pixels. Needs --mask.")
@click.option("--lora", "loras", multiple=True, help="MODEL_ID or MODEL_ID:WEIGHT. May be given several times.")
@preset_options
@webhook_options
@_out_option
@json_option
@pass_shared
def generate(
    shared: Shared,
    /,
    out: Path,
    as_json: bool,
    prompt_option: str | None,
    recalled: str | None,
    new_seed: bool,
    source: str | None,
    mask: str | None,
    loras: tuple[str, ...],
    template_id: str,
    values: tuple[str, ...],
    style_id: str,
    size_preset: str,
    webhook_url: str,
    webhook_events: tuple[str, ...],
    **options: object,
) -> None:
    """Make a picture from PROMPT, alone or with a picture to begin with, or again with --from. Ctrl-C cancels the job."""
    if prompt_option is not None:
        _require(options["prompt"] is None, "--prompt", "no PROMPT beside it")
        options["prompt"] = prompt_option
    preset = preset_of(template_id, values, style_id, size_preset)
    webhook = webhook_of(webhook_url, webhook_events)
    wanted = options["prompt"] is not None or recalled is not None or bool(template_id)
    _require(wanted, "a picture without --from or --template", "a PROMPT")
    _require(recalled is None or not (template_id or size_preset), "--template or --size", "no --from beside it")
    _require(not new_seed or (recalled is not None and options["seed"] is None), "--new-seed", "--from, and no --seed")
    _require(options["strength"] is None or source is not None, "--strength", "--image")
    _require(mask is None or source is not None, "--mask", "--image")
    _require(options["mask_feather_px"] is None or mask is not None, "--feather", "--mask")
    options["loras"] = [lora_weight(text) for text in loras] or None
    with connect(shared) as client:
        recipe = None if recalled is None else recipes.recipe_of(client, recalled)
        if recipe is not None:
            recipes.tell(recipe, str(recalled))
            recipes.check_source(recipe, source)
        pictures = [None if name is None else image_source(client, name) for name in (source, mask)]
        if recipe is None:
            operation: Operation = drawing(options, *pictures)
        else:
            operation = recipes.operation_from(recipe, options, *pictures)
            if new_seed:
                operation.ClearField("seed")
        if preset is not None and not isinstance(operation, Upscale):
            operation.preset.CopyFrom(preset)
        title = operation.prompt or template_id or Path(str(recalled)).stem
        _make_and_tell(client, operation, out, title, webhook, as_json=as_json)


@click.command()
@shared_options
@click.argument("picture")
@click.option("--scale", "scale_factor", type=click.Choice(["2", "4"]), default="2", show_default=True)
@click.option("--model", "model_id", default="", help="Default: the default model of the deployment.")
@click.option("--prompt", default="", help="Describes the picture, for models that upscale by a prompt.")
@click.option("--seed", type=Seed(), help="Makes the result repeatable. Default: drawn by the server.")
@webhook_options
@_out_option
@json_option
@pass_shared
def upscale(
    shared: Shared,
    /,
    picture: str,
    out: Path,
    as_json: bool,
    scale_factor: str,
    webhook_url: str,
    webhook_events: tuple[str, ...],
    **options: object,
) -> None:
    """Make a larger version of PICTURE: a file, or an id of the gallery. Ctrl-C cancels the job."""
    webhook = webhook_of(webhook_url, webhook_events)
    with connect(shared) as client:
        options |= {"scale_factor": int(scale_factor), "source": image_source(client, picture)}
        title = f"{Path(picture).stem} x{scale_factor}"
        _make_and_tell(client, build(Upscale, options), out, title, webhook, as_json=as_json)


def make(
    client: Client, operation: Operation, out: Path, title: str, console: Console, webhook: JobWebhook | None = None
) -> Result:
    """Has an operation done, shows its progress, and saves it in a file named after the title.

    The request id makes the acceptance repeatable: a lost answer costs a repeat, never a second job.
    """
    create = request_of(operation, f"cli:{uuid.uuid4()}", **(webhook or webhook_of("", ())))
    job = client.call(GenerationServiceStub(client.channel).CreateJob, create)
    console.print(f"Job {job.job_id} accepted; {job.credits_held} credits are held for it.", soft_wrap=True)
    with watching.live_bar(console) as show:
        job = watching.watch_to_end(client, job.job_id, show)
    if job.state != JobState.JOB_STATE_COMPLETED:
        state = watching.state_name(job.state)
        raise CommandError(
            f"the job {job.job_id} was {state} elsewhere", advice="Submit it again if you still want it."
        )
    return Result(job, save(job, out, title))


def save(job: Job, out: Path, title: str) -> tuple[Path, ...]:
    """Downloads the pictures of a completed job into a folder and returns their files."""
    out.mkdir(parents=True, exist_ok=True)
    with httpx.Client(timeout=_DOWNLOAD_SECONDS) as http:
        return tuple(_save(http, image, out, title) for image in job.images)


def present(result: Result, console: Console) -> None:
    """Shows the pictures, where they are, and what they cost."""
    for file in result.files:
        if can_show(console):
            console.print(half_blocks(decode(file.read_bytes()), columns=min(_PICTURE_COLUMNS, console.width)))
        console.print(f"Saved {file}", soft_wrap=True)
    for line in partial_lora_lines(result.job):
        console.print(f"LoRA {line}.", soft_wrap=True)
    seed = operation_of(result.job).seed
    console.print(f"It cost {watching.credits_used(result.job)} credits; seed {seed} makes it again.")


def _make_and_tell(
    client: Client, operation: Operation, out: Path, title: str, webhook: JobWebhook, *, as_json: bool
) -> None:
    console = picture_console(quiet=as_json)
    result = make(client, operation, out, title, console, webhook)
    if as_json:
        document = MessageToDict(result.job, preserving_proto_field_name=True)
        click.echo(json.dumps({**document, "files": [str(file) for file in result.files]}, indent=2))
    else:
        present(result, console)


def _require(holds: bool, option: str, needed: str) -> None:
    if not holds:
        raise click.UsageError(f"{option} needs {needed}.")


def _save(http: httpx.Client, image: JobImage, out: Path, title: str) -> Path:
    file = _free_name(out, f"{_slug(title)}-{image.seed}")
    try:
        answer = http.get(image.url).raise_for_status()
    except httpx.HTTPError as error:
        raise CommandError(
            f"the picture {image.image_id} was made but could not be downloaded: {error}",
            advice="`pingvas images list --json` gives a fresh address of it.",
            exit_code=ExitCode.UNREACHABLE,
        ) from error
    file.write_bytes(answer.content)
    return file


def _slug(title: str) -> str:
    words = re.sub(r"[\W_]+", "-", title.lower()).strip("-")
    return words[:_SLUG_CHARACTERS].rstrip("-") or "picture"


def _free_name(out: Path, stem: str) -> Path:
    """Returns a name in the folder that no file has yet: pictures of an earlier command are never overwritten."""
    candidate, number = out / f"{stem}.png", 1
    while candidate.exists():
        number += 1
        candidate = out / f"{stem}-{number}.png"
    return candidate
