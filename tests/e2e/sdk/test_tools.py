"""Tools that know no contract before they ask: grpcurl and `buf curl` read it by reflection, through the edge."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pingvas.generation.v1 import job_pb2

from tests.e2e.stage import Person, Stage

GRPCURL = Path(sys.executable).with_name("grpcurl")
BUF = Path(sys.executable).with_name("buf")
SERVICE = "pingvas.generation.v1.GenerationService"
REQUEST = {"text_to_image": {"prompt": "a lighthouse", "width_px": 64, "height_px": 64, "step_count": 4}}


def answers(command: list[str]) -> list[dict[str, Any]]:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    decoder, text, found = json.JSONDecoder(), ran.stdout.strip(), list[dict[str, Any]]()
    while text:
        answer, end = decoder.raw_decode(text)
        found.append(answer)
        text = text[end:].lstrip()
    return found


def test_grpcurl_makes_and_watches_a_picture(stage: Stage, person: Person, key: str) -> None:
    common = [str(GRPCURL), "-plaintext", "-H", f"authorization: Bearer {key}"]
    (job,) = answers([*common, "-d", json.dumps(REQUEST), stage.fleet.grpc, f"{SERVICE}/CreateJob"])
    watching = json.dumps({"job_id": job["jobId"]})
    events = answers([*common, "-d", watching, stage.fleet.grpc, f"{SERVICE}/WatchJob"])
    assert "completed" in events[-1]
    assert person.get(job["jobId"]).state == job_pb2.JOB_STATE_COMPLETED


def test_buf_curl_makes_a_picture_by_grpc_and_by_grpc_web(stage: Stage, person: Person, key: str) -> None:
    for protocol in ("grpc", "grpcweb"):
        command = [str(BUF), "curl", "--protocol", protocol, "--http2-prior-knowledge", "--reflect-protocol", "grpc-v1"]
        url = f"{stage.fleet.http}/{SERVICE}/CreateJob"
        (job,) = answers([*command, "-H", f"Authorization: Bearer {key}", "-d", json.dumps(REQUEST), url])
        assert person.end_of(job["jobId"]).state == job_pb2.JOB_STATE_COMPLETED
