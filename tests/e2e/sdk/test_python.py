"""The Python SDK before the whole platform: everything through the edge, with a key, a session, and what goes wrong."""

import asyncio
import io
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from PIL import Image
from pingvas.common.v1 import scope_pb2
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.user.v1 import auth_service_pb2
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub
from pingvas_sdk import (
    AsyncClient,
    AuthenticationError,
    Client,
    ForbiddenError,
    InsufficientCreditsError,
    InvalidRequestError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    Picture,
    Progress,
    UnreachableError,
    drawing,
)
from pingvas_sdk.credentials import Session

from tests.e2e.invariants import assert_invariants
from tests.e2e.sdk.conftest import key_of
from tests.e2e.stage import PASSWORD, TERMINAL_DETAILS, Person, Stage
from tests.harness import Fleet

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 4}


@pytest.fixture(scope="module")
def client(stage: Stage, key: str) -> Iterator[Client]:
    with Client(stage.fleet.http, key) as client:
        yield client


@pytest.fixture
async def later(stage: Stage, key: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(stage.fleet.http, key) as client:
        yield client


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def png(colour: str) -> bytes:
    """Returns a black picture whose left half has a colour."""
    image = Image.new("RGB", (64, 64))
    image.paste(colour, (0, 0, 32, 64))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def test_pictures_come_with_bytes_progress_and_price(stage: Stage, client: Client, tmp_path: Path) -> None:
    before = float(client.balance().available)
    seen: list[Progress] = []

    pictures = client.generate("a lighthouse", count=2, seed=7, on_progress=seen.append, **SMALL)

    assert [(picture.seed, opened(picture.data).size) for picture in pictures] == [(7, (64, 64)), (8, (64, 64))]
    assert pictures[0].save(tmp_path / "one.png").read_bytes() == pictures[0].data
    assert next(told.stage for told in seen) == "waiting"
    assert (seen[-1].stage, seen[-1].percent) == ("done", 100)
    drawn = [told.step for told in seen if told.stage == "drawing" and told.step_count]
    assert drawn == sorted(drawn)
    assert drawn[-1] == 8
    job = client.job(pictures[0].job_id)
    assert float(client.balance().available) == pytest.approx(before - float(job.credits_used))
    assert client.download(pictures[0].image_id) == pictures[0].data
    assert_invariants(stage)


def test_file_bytes_and_picture_are_worked_on(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "source.png"
    file.write_bytes(png("green"))

    (from_file,) = client.generate("a field", source=file, strength=0.5, steps=4)
    (repainted,) = client.generate("a gate", source=from_file, mask=png("white"), steps=4)
    (from_id,) = client.generate("a gate", source=repainted.image_id, steps=4)
    larger = client.upscale(from_id)

    operations = [client.job(each.job_id).WhichOneof("operation") for each in (from_file, repainted, from_id, larger)]
    assert operations == ["image_to_image", "inpaint", "image_to_image", "upscale"]
    assert opened(larger.data).size == (128, 128)


def test_what_is_no_picture_is_refused_before_it_is_sent(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("these are words")
    with pytest.raises(ValueError, match="no PNG, JPEG or WebP"):
        client.generate("a field", source=file)
    with pytest.raises(FileNotFoundError, match="neither a file nor the id"):
        client.generate("a field", source=tmp_path / "absent.png")
    with pytest.raises(ValueError, match="a mask needs a source"):
        client.generate("a field", mask=png("white"))


def test_lists_go_on_over_their_pages(stage: Stage) -> None:
    person = stage.person("pro")
    jobs = [person.create(f"sheep {number}") for number in range(5)]
    for job in jobs:
        person.end_of(job.job_id)
    newest_first = [job.job_id for job in reversed(jobs)]
    with Client(stage.fleet.http, dict(person.metadata)["authorization"].removeprefix("Bearer ")) as client:
        pages = client.items(
            GenerationServiceStub(client.channel).ListJobs, generation_service_pb2.ListJobsRequest(page_size=2)
        )
        assert [job.job_id for job in pages] == newest_first
        assert {image.job_id for image in client.images()} == set(newest_first)
        assert [image.job_id for image in client.images(job_id=jobs[1].job_id)] == [jobs[1].job_id]
        assert list(client.jobs(job_pb2.JOB_STATE_FAILED)) == []
        assert "pingvas-tiny" in [model.model_id for model in client.models()]


def test_refusals_say_what_the_platform_says(stage: Stage, client: Client) -> None:
    with pytest.raises(InvalidRequestError) as invalid:
        client.generate("a boat", width=65)
    assert [violation.field for violation in invalid.value.violations] == ["text_to_image.width_px"]
    with pytest.raises(NotFoundError) as absent:
        client.generate("a boat", model="no-such-model")
    assert absent.value.reason == "MODEL_NOT_FOUND"

    poor = stage.person("pro", has_credits=0)
    with Client.login(stage.fleet.http, poor.email, PASSWORD) as poor_client:
        with pytest.raises(InsufficientCreditsError) as broke:
            poor_client.generate("a boat", **SMALL)
        assert broke.value.metadata["balance"] == "0.000"
        quote = poor_client.quote(drawing({"prompt": "a boat", "width_px": 64, "height_px": 64}))
        assert broke.value.metadata["price"] != "0.000"
        assert float(quote.credits) > 0


def test_wrong_credentials_are_told_apart(stage: Stage, person: Person, key: str) -> None:
    other = f"{key[:-1]}{'a' if key[-1] != 'a' else 'b'}"
    with Client(stage.fleet.http, other) as stranger, pytest.raises(AuthenticationError):
        stranger.balance()
    with pytest.raises(AuthenticationError) as wrong:
        Client.login(stage.fleet.http, person.email, "not the password")
    assert wrong.value.reason == "LOGIN_FAILED"
    with Client(stage.fleet.http, key_of(stage, person, scope_pb2.SCOPE_READ)) as reader:
        assert reader.balance().available
        with pytest.raises(ForbiddenError) as narrow:
            reader.generate("a boat", **SMALL)
        assert narrow.value.reason == "SCOPE_MISSING"


def test_nobody_there_is_told_with_the_address() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1"):
        client.balance()
    with pytest.raises(ValueError, match="no address"):
        Client("ftp://studio.example")


async def test_lost_answer_is_asked_for_again_and_makes_one_job(later: AsyncClient) -> None:
    create = GenerationServiceStub(later.channel).CreateJob
    answers: list[job_pb2.Job] = []

    async def losing_the_first(request: Message, **how: Any) -> job_pb2.Job:
        answers.append(await create(request, **how))
        if len(answers) == 1:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, details="the connection broke")
        return answers[-1]

    request = generation_service_pb2.CreateJobRequest(text_to_image=job_pb2.TextToImage(prompt="one only"))
    job = await later.call(losing_the_first, request)

    assert [answer.job_id for answer in answers] == [job.job_id] * 2


async def test_many_jobs_at_once_over_one_client(stage: Stage, later: AsyncClient) -> None:
    made = await asyncio.gather(*(later.generate(f"bird {number}", seed=number, **SMALL) for number in range(6)))
    assert [picture.seed for (picture,) in made] == list(range(6))
    assert_invariants(stage)


async def test_failed_and_cancelled_jobs_are_raised_with_the_job(stage: Stage, later: AsyncClient) -> None:
    with pytest.raises(JobFailedError) as failed:
        await later.generate("[[raise]] a storm", **SMALL)
    assert failed.value.reason == "PIPELINE_FAILED"
    assert failed.value.job.state == job_pb2.JOB_STATE_FAILED

    job = await later.submit(drawing({"prompt": "[[slow=0.1]] a long way", "step_count": 100, "width_px": 64}))
    waiting = asyncio.create_task(later.wait(job.job_id))
    await later.cancel(job.job_id)
    with pytest.raises(JobCancelledError) as cancelled:
        await waiting
    assert cancelled.value.job.job_id == job.job_id
    assert_invariants(stage)


@pytest.mark.parametrize("way", ["timeout", "cancellation"])
async def test_job_whose_wait_ends_early_is_cancelled(stage: Stage, key: str, way: str) -> None:
    begun = asyncio.Event()
    job_ids = set[str]()

    def seen(progress: Progress) -> None:
        job_ids.add(progress.job_id)
        begun.set()

    async with AsyncClient(stage.fleet.http, key) as client:
        making = asyncio.create_task(
            client.generate(
                "[[slow=0.2]] a long way", on_progress=seen, timeout=3 if way == "timeout" else None, steps=100
            )
        )
        if way == "cancellation":
            await asyncio.wait([making, asyncio.create_task(begun.wait())], return_when=asyncio.FIRST_COMPLETED)
            making.cancel()
        with pytest.raises(TimeoutError if way == "timeout" else asyncio.CancelledError):
            await making

    (job_id,) = job_ids
    async with AsyncClient(stage.fleet.http, key) as client:
        with pytest.raises(JobCancelledError):
            await client.wait(job_id)


async def test_session_renews_itself_once_for_all_who_call(stage: Stage, person: Person) -> None:
    async with AsyncClient(stage.fleet.http) as stranger:
        request = auth_service_pb2.LoginRequest(email=person.email, password=PASSWORD)
        pair = await stranger.call(AuthServiceStub(stranger.channel).Login, request)
    pair.access_token += "x"

    async with AsyncClient(stage.fleet.http, credentials=Session(pair)) as client:
        balances = await asyncio.gather(*(client.balance() for _ in range(20)))

    # A refresh token that is used twice would have ended the session for everybody.
    assert len({balance.available for balance in balances}) == 1


async def test_watch_goes_on_where_it_was_when_the_service_comes_back(stage: Stage, later: AsyncClient) -> None:
    operation = drawing({"prompt": "[[slow=0.1]] a heron", "step_count": 40, "width_px": 64, "height_px": 64})
    job = await later.submit(operation)
    events = []
    async for event in later.watch(job.job_id):
        events.append(event)
        if event.progress.step == 10:
            await asyncio.to_thread(restarted, stage.fleet)

    steps = [event.progress.step for event in events if event.progress.step_count]
    assert steps == sorted(set(steps))
    assert [event.WhichOneof("detail") for event in events if event.WhichOneof("detail") in TERMINAL_DETAILS] == [
        "completed"
    ]


def restarted(fleet: Fleet) -> None:
    fleet.kill("svc_generation")
    fleet.wait_until_healthy("svc_generation")


def test_picture_names_itself_without_its_bytes() -> None:
    picture = Picture("image", "job", 1, 64, 64, b"x" * 1000, job_pb2.JobImage())
    assert "xxx" not in repr(picture)


def test_documentation_does_what_it_shows(stage: Stage, key: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "sdk-python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    program = "\n".join(blocks).replace("https://studio.example", stage.fleet.http).replace("pgv_live_...", key)
    # What a line's comment says is what it prints.
    expected = re.findall(r"^print\(.*\)  # (.+)$", program, re.MULTILINE)

    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert [line for line in ran.stdout.splitlines() if line in expected] == expected
    assert opened((tmp_path / "lighthouse.png").read_bytes()).size == (64, 64)


def test_interrupted_program_cancels_its_job(stage: Stage, person: Person, key: str) -> None:
    # Whoever starts the tests may have told its children to ignore SIGINT.
    program = f"""
import signal
from pingvas_sdk import Client
signal.signal(signal.SIGINT, signal.default_int_handler)
client = Client({stage.fleet.http!r}, {key!r})
client.generate("[[slow=0.2]] a long way", steps=100, on_progress=lambda told: print(told.job_id, flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)
        process.stdout.read()

    assert process.returncode != 0
    assert person.end_of(job_id).state == job_pb2.JOB_STATE_CANCELLED


def test_program_that_closes_nothing_ends(stage: Stage, key: str) -> None:
    program = f"from pingvas_sdk import Client; print(Client({stage.fleet.http!r}, {key!r}).balance().available)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert float(ran.stdout) > 0
    assert ran.stderr == ""


def test_wheel_has_what_it_needs_and_nothing_of_the_servers(tmp_path: Path) -> None:
    project = Path(__file__).parents[3]
    shutil.copytree(project / "sdk" / "python", tmp_path / "sdk" / "python")
    shutil.copytree(project / "gen", tmp_path / "gen")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "."]
    subprocess.run([*build, "sdk/python"], cwd=tmp_path, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    needed = {str(file.relative_to(project / "gen")) for file in (project / "gen" / "pingvas").rglob("*_pb2*.py*")}
    assert {name for name in needed if not name.startswith("pingvas/worker/") and name.endswith((".py", ".pyi"))} <= {
        *names
    }
    assert {name.split("/")[0].split("-")[0] for name in names} == {"pingvas_sdk", "pingvas", "buf"}
    # Imported from the wheel itself, whose generated code must stand in front of the checkout's.
    program = f"import sys; sys.path.insert(0, {str(wheel)!r}); import pingvas_sdk; print(pingvas_sdk.__file__)"
    ran = subprocess.run([sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.startswith(str(wheel))
