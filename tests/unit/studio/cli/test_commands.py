"""The command line itself: exit codes, messages, and that nothing else reaches standard output."""

import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import click
import pytest
from PIL import Image
from pingvas.gallery.v1.library_service_pb2 import StorageUsage
from pingvas.generation.v1.job_pb2 import (
    ImageSource,
    ImageToImage,
    Inpaint,
    Job,
    JobImage,
    LoraCoverage,
    LoraWeight,
    TextToImage,
    Upscale,
)
from pingvas.generation.v1.webhook_pb2 import DeliveryState, WebhookDelivery, WebhookEndpoint, WebhookEvent
from pingvas.models.v1.model_pb2 import Model
from pingvas.payment.v1.credit_service_pb2 import CreditNotices
from pingvas.payment.v1.statement_pb2 import Statement, StatementDay, StatementTotals
from pingvas_sdk.operations import operation_of, request_of
from pingvas_sdk.pictures import content_type
from rich.console import Console
from rich.style import Style

from studio.cli.admin import CreditsType
from studio.cli.context import Shared
from studio.cli.credits import notices_line, statement_lines
from studio.cli.failures import CommandError, ExitCode
from studio.cli.generate import Result, _free_name, _slug, present
from studio.cli.jobs import _present
from studio.cli.main import cli, guarded
from studio.cli.models import line_of
from studio.cli.operations import build, drawing, lora_weight, partial_lora_lines
from studio.cli.picture import can_show, half_blocks
from studio.cli.profile import storage_lines
from studio.cli.webhooks import delivery_line, endpoint_line, webhook_of
from studio.stack.failures import StackError
from studio.stack.layout import Layout, Ports
from studio.stack.mailbox import StoredMail
from studio.stack.state import Health, ProcessState, describe


def pingvas(*arguments: str, data_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command as a person would, with nothing but what is given in its environment."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "studio.cli.main", *arguments],
        env={**kept, "HOME": str(data_dir), "PINGVAS_DATA_DIR": str(data_dir), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_command_without_a_stack_says_what_to_do_and_exits_with_3(tmp_path: Path) -> None:
    done = pingvas("credits", "--json", data_dir=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines() == [
        "pingvas: there is nothing to call: no endpoint was given, and no local stack runs",
        "  Start one with `pingvas up`, or name a deployment with --endpoint or PINGVAS_ENDPOINT.",
    ]


def test_list_of_models_tells_family_kind_tier_size_and_operations() -> None:
    model = Model(
        model_id="pingvas-tiny",
        family="tiny",
        kind="MODEL_KIND_CHECKPOINT",
        minimum_tier="TIER_FREE",
        size_bytes=15 * 2**20,
        operations=["OPERATION_TEXT_TO_IMAGE", "OPERATION_UPSCALE"],
    )
    lora = Model(model_id="ink", family="sd15", kind="MODEL_KIND_LORA", minimum_tier="TIER_PRO", size_bytes=2**20)

    assert line_of(model).split() == [
        "pingvas-tiny",
        "tiny",
        "checkpoint",
        "free",
        "15.0",
        "MiB",
        "text_to_image,",
        "upscale",
    ]
    assert line_of(lora).split() == ["ink", "sd15", "lora", "pro", "1.0", "MiB", "-"]


def test_push_of_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    done = pingvas("admin", "models", "push", str(tmp_path), data_dir=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"pingvas: {tmp_path} is no model that can be used"


def test_wrong_usage_exits_with_2(tmp_path: Path) -> None:
    assert pingvas("generate", data_dir=tmp_path).returncode == 2
    assert pingvas("up", "--workers", "99", data_dir=tmp_path).returncode == 2
    assert pingvas("no-such-command", data_dir=tmp_path).returncode == 2
    assert pingvas("login", "maya@example.com", "--with", "google", data_dir=tmp_path).returncode == 2
    assert pingvas("login", "--with", "nobody", data_dir=tmp_path).returncode == 2


def test_call_without_a_session_asks_to_log_in(tmp_path: Path) -> None:
    done = pingvas("jobs", "list", "--endpoint", "127.0.0.1:9", data_dir=tmp_path)
    assert done.returncode == 1
    assert "you are not logged in at 127.0.0.1:9" in done.stderr


def test_endpoint_where_nobody_listens_exits_with_3(tmp_path: Path) -> None:
    arguments = ("login", "maya@example.com", "--endpoint", "127.0.0.1:9", "--password", "a long password")
    done = pingvas(*arguments, data_dir=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("pingvas: no answer from 127.0.0.1:9")
    assert "Traceback" not in done.stderr


def test_admin_of_a_remote_deployment_wants_its_own_log_in(tmp_path: Path) -> None:
    done = pingvas(
        "admin", "grant", "maya@example.com", "10", data_dir=tmp_path, PINGVAS_ENDPOINT="https://example.com"
    )
    assert done.returncode == 1
    assert "you are not logged in at https://example.com" in done.stderr


def test_down_without_a_stack_is_no_failure(tmp_path: Path) -> None:
    done = pingvas("down", data_dir=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"No stack runs with the data directory {tmp_path}.\n")


@pytest.mark.parametrize("command", sorted(cli.list_commands(click.Context(cli))))
def test_every_command_of_the_table_exists_and_explains_itself(command: str) -> None:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    assert found.name == command
    assert found.get_short_help_str()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("it is refused", advice="do this", exit_code=ExitCode.UNREACHABLE), 3),
        (StackError("it is refused", advice="do this"), 1),
        (RuntimeError("it is refused"), 1),
    ],
)
def test_no_exception_becomes_a_traceback(
    error: Exception, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    assert guarded(fail, Shared(data_dir=tmp_path)) == code
    said = capsys.readouterr().err
    assert "it is refused" in said
    assert "Traceback" not in said


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("a defect")

    assert guarded(fail, Shared(data_dir=tmp_path, debug=True)) == 1
    assert "Traceback" in capsys.readouterr().err


def test_status_document_has_the_published_shape(tmp_path: Path) -> None:
    process = ProcessState("worker-0", 4711, "127.0.0.1:9021", Health.HEALTHY, str(tmp_path / "logs" / "worker-0.log"))
    state = describe(Layout(tmp_path, Ports(9000)), ready=True, processes=(process,))
    assert json.loads(json.dumps(state.to_json())) == {
        "http": "http://127.0.0.1:9080",
        "grpc": "127.0.0.1:9080",
        "ca_file": "",
        "data_dir": str(tmp_path),
        "processes": [
            {
                "name": "worker-0",
                "pid": 4711,
                "address": "127.0.0.1:9021",
                "health": "healthy",
                "log": str(tmp_path / "logs" / "worker-0.log"),
                "detail": "",
            }
        ],
    }


@pytest.mark.parametrize(("written", "millicredits"), [("1", 1000), ("0.001", 1), ("12.345", 12345), ("1e3", 1000000)])
def test_credits_are_read_exactly(written: str, millicredits: int) -> None:
    assert CreditsType().convert(written, None, None) == millicredits


@pytest.mark.parametrize("written", ["0", "-1", "0.0001", "ten", "nan", "inf", ""])
def test_amount_that_is_none_is_a_usage_error(written: str) -> None:
    with pytest.raises(click.BadParameter):
        CreditsType().convert(written, None, None)


def test_request_holds_what_was_given_and_nothing_else() -> None:
    options = {"prompt": "a fox", "width_px": 512, "seed": 0, "guidance_scale": None, "image_count": None}
    request = drawing(options)
    assert isinstance(request, TextToImage)
    assert (request.prompt, request.width_px, request.seed) == ("a fox", 512, 0)
    assert request.HasField("seed")
    assert not request.HasField("guidance_scale")


def test_number_beyond_the_contract_is_a_usage_error() -> None:
    with pytest.raises(CommandError) as failure:
        build(TextToImage, {"prompt": "a fox", "width_px": 2**40})
    assert failure.value.exit_code == ExitCode.USAGE


def test_operation_follows_from_the_pictures_that_were_given() -> None:
    source, mask = ImageSource(upload_id="source"), ImageSource(image_id="mask")
    assert isinstance(drawing({"prompt": "a fox"}), TextToImage)
    changed = drawing({"prompt": "a fox", "strength": 0.5}, source)
    assert isinstance(changed, ImageToImage)
    assert (changed.source, changed.strength) == (source, 0.5)
    repainted = drawing({"prompt": "a fox", "mask_feather_px": 0}, source, mask)
    assert isinstance(repainted, Inpaint)
    assert (repainted.source, repainted.mask, repainted.HasField("mask_feather_px")) == (source, mask, True)


@pytest.mark.parametrize(
    "operation",
    [TextToImage(prompt="a"), ImageToImage(prompt="b"), Inpaint(prompt="c"), Upscale(scale_factor=4)],
    ids=lambda operation: type(operation).__name__,
)
def test_request_and_job_hold_each_operation_in_its_own_branch(operation: TextToImage) -> None:
    request = request_of(operation, "cli:1")
    branch = request.WhichOneof("operation")
    assert branch is not None
    assert getattr(request, branch) == operation
    assert operation_of(Job(**{branch: operation})) == operation


def test_webhook_options_become_the_request_s_address_and_events() -> None:
    url = "https://hooks.example.com/"
    request = request_of(TextToImage(prompt="a"), **webhook_of(url, ("completed", "started")))
    assert request.webhook_url == url
    assert list(request.webhook_events) == [
        WebhookEvent.WEBHOOK_EVENT_JOB_COMPLETED,
        WebhookEvent.WEBHOOK_EVENT_JOB_STARTED,
    ]
    assert request_of(TextToImage(prompt="a"), **webhook_of("", ())) == request_of(TextToImage(prompt="a"))
    with pytest.raises(click.UsageError, match="--webhook-event needs --webhook"):
        webhook_of("", ("completed",))


def test_lora_of_which_less_than_all_was_applied_is_named_once() -> None:
    coverage = LoraCoverage(model_id="ink-lines", applied_module_count=40, total_module_count=64)
    job = Job(text_to_image=TextToImage(seed=7), images=[JobImage(partial_loras=[coverage]) for _ in range(2)])
    line = "ink-lines: 40 of its 64 modules were applied; the model has no place for the others"
    assert partial_lora_lines(job) == (line,)
    assert partial_lora_lines(Job(images=[JobImage()])) == ()
    told = io.StringIO()
    present(Result(job, ()), Console(file=told, width=200))
    assert f"LoRA {line}." in told.getvalue()


def test_shown_job_names_a_lora_that_was_applied_in_part(capsys: pytest.CaptureFixture[str]) -> None:
    coverage = LoraCoverage(model_id="ink-lines", applied_module_count=40, total_module_count=64)
    _present(Job(text_to_image=TextToImage(seed=7), images=[JobImage(partial_loras=[coverage])]), as_json=False)
    assert "LoRA     ink-lines: 40 of its 64 modules were applied" in capsys.readouterr().out


def test_lora_without_a_weight_leaves_it_to_the_server() -> None:
    assert not lora_weight("ink-lines").HasField("weight")
    assert lora_weight("ink-lines:-0.5") == LoraWeight(model_id="ink-lines", weight=-0.5)
    with pytest.raises(CommandError, match="is no number"):
        lora_weight("ink-lines:strong")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mask", "m.png"), "--mask needs --image"),
        (("--strength", "0.5"), "--strength needs --image"),
        (("--image", "a.png", "--feather", "3"), "--feather needs --mask"),
    ],
)
def test_option_without_the_one_that_it_needs_is_a_usage_error(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = pingvas("generate", "a fox", *arguments, data_dir=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert message in done.stderr


@pytest.mark.parametrize(
    ("form", "kind"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("GIF", None)]
)
def test_type_of_a_picture_is_read_from_its_content(form: str, kind: str | None) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, form)
    assert content_type(buffer.getvalue()[:12]) == kind


@pytest.mark.parametrize(
    ("prompt", "slug"),
    [
        ("A fox, at dawn!", "a-fox-at-dawn"),
        ("狐", "狐"),
        ("파란 배경에 별", "파란-배경에-별"),
        ("?!", "picture"),
        ("word " * 20, "word-word-word-word-word-word-word-word"),
    ],
)
def test_file_is_named_after_the_prompt(prompt: str, slug: str) -> None:
    assert _slug(prompt) == slug


def test_existing_picture_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "fox-1.png").touch()
    (tmp_path / "fox-1-2.png").touch()
    assert _free_name(tmp_path, "fox-1") == tmp_path / "fox-1-3.png"


def test_picture_is_drawn_with_two_pixels_in_each_cell() -> None:
    picture = Image.new("RGB", (2, 2))
    picture.putdata([(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)])
    left, right, end = half_blocks(picture, columns=2).segments
    assert (left.text, right.text, end.text) == ("▀", "▀", "\n")
    assert left.style == Style(color="#ff0000", bgcolor="#0000ff")
    assert right.style == Style(color="#00ff00", bgcolor="#090909")


def test_picture_keeps_its_proportions() -> None:
    segments = half_blocks(Image.new("RGB", (200, 100)), columns=40).segments
    assert sum(segment.text == "\n" for segment in segments) == 10


def test_picture_is_not_drawn_into_a_file_or_without_colours() -> None:
    assert can_show(Console(force_terminal=True, color_system="truecolor"))
    assert not can_show(Console(force_terminal=True, color_system=None))
    assert not can_show(Console(force_terminal=False))


def test_link_to_a_picture_needs_no_terms(tmp_path: Path) -> None:
    """Exit code 3 says that there is no stack: the command line itself is right."""
    assert pingvas("images", "share", "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a12", data_dir=tmp_path).returncode == 3


def test_mail_is_shown_with_the_line_ends_of_text() -> None:
    message = EmailMessage()
    message.set_content("Confirm it:\r\nhttp://127.0.0.1/verify-email#token=abc\r\n")
    shown = message_from_bytes(message.as_bytes(policy=SMTP), policy=SMTP)
    assert StoredMail("1", shown).text.splitlines()[1].endswith("abc")
    assert "\r" not in StoredMail("1", shown).text


def test_endpoint_and_delivery_are_one_line_each() -> None:
    endpoint = WebhookEndpoint(
        endpoint_id="e1", url="https://x.example/", events=[WebhookEvent.WEBHOOK_EVENT_JOB_COMPLETED], disabled=True
    )
    endpoint.disable_reason = "It answered 410 Gone."
    assert endpoint_line(endpoint) == "e1  https://x.example/  completed  disabled: It answered 410 Gone."
    delivery = WebhookDelivery(
        delivery_id="d1", event=WebhookEvent.WEBHOOK_EVENT_TEST, state=DeliveryState.DELIVERY_STATE_DELIVERED
    )
    delivery.attempt_count, delivery.last_http_status = 2, 204
    assert delivery_line(delivery) == "d1  test  -  delivered  attempts: 2  204"


def test_statement_adds_up_by_kind_and_then_by_day() -> None:
    zero = dict.fromkeys(("promotional", "plan", "purchased", "charged", "lapsed", "revoked"), "0.000")
    totals = StatementTotals(**{**zero, "plan": "20.000", "charged": "1.750", "charged_jobs": 1})
    found = Statement(
        month="2026-11",
        opening="1.000",
        closing="19.250",
        totals=totals,
        days=[StatementDay(date="2026-11-15", totals=totals)],
    )
    assert [line.split() for line in statement_lines(found)] == [
        ["opening", "1.000"],
        ["plan", "+20.000"],
        ["charged", "-1.750"],
        ["closing", "19.250"],
        ["2026-11-15", "plan", "+20.000,", "charged", "-1.750,", "1", "job"],
    ]


def test_notices_are_told_in_words() -> None:
    assert notices_line(CreditNotices(low_balance="500.000")) == "a warning below 500.000 credits, no statements"
    assert notices_line(CreditNotices(mails_statements=True)) == ("no warning of a low balance, a statement each month")


def test_storage_is_told_with_a_warning_when_it_is_too_much() -> None:
    stored = StorageUsage(image_bytes=3 * 1024**3, quota_bytes=1024**3)
    assert storage_lines(stored) == ["storage: 3.00 GiB of 1.00 GiB"]
    stored.overage_stop_time.FromDatetime(datetime(2026, 3, 15, 12, tzinfo=UTC))
    (taken, warning, advice) = storage_lines(stored)
    assert taken == "storage: 3.00 GiB of 1.00 GiB"
    assert "from 2026-03-1" in warning
    assert "Delete pictures and empty the bin, or upgrade." in advice
