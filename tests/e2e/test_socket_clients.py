"""Other people's socket clients before the whole platform: each follows a job that the same person has submitted to its end."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import socketio
from websockets.sync.client import connect

from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import PATIENCE_SECONDS, Person, Stage

NODE_CLIENT = Path(__file__).with_name("socket_client.mjs")


def token_of(person: Person) -> str:
    return dict(person.metadata)["authorization"].removeprefix("Bearer ")


def assert_whole(names: list[str], ids: list[str]) -> None:
    """Checks that a stream had each change of a job once, in order, with progress between."""
    assert names[0] == "queued"
    assert names[-1] == "completed"
    assert names.count("started") == 1
    assert "progress" in names
    places = [tuple(map(int, event_id.split("-"))) for event_id in ids]
    assert places == sorted(set(places))


def test_websockets_client_follows_a_generation(calm: Stage) -> None:
    person = calm.person("pro")
    url = calm.fleet.http.replace("http://", "ws://") + "/ws/queue/default"
    events: list[dict[str, Any]] = []
    with connect(url, additional_headers=dict(person.metadata), max_size=None) as socket:
        job = person.create("[[slow=0.05]] a red circle", step_count=10)
        while not events or "completed" not in events[-1]:
            event = json.loads(socket.recv(timeout=PATIENCE_SECONDS))
            if "heartbeat" not in event:
                events.append(event)
    names = [next(name for name in event if name in _KINDS) for event in events]
    assert_whole(names, [event["event_id"] for event in events])
    assert {event["job_id"] for event in events} == {job.job_id}
    assert_invariants(calm)


def test_python_socketio_client_follows_a_generation(calm: Stage) -> None:
    person = calm.person("pro")
    with socketio.SimpleClient() as client:
        client.connect(calm.fleet.http, auth={"token": token_of(person)}, socketio_path="/ws/socket.io")
        assert client.call("subscribe_queue", {"queue_id": str(person.account_id)}) == {}
        person.create("[[slow=0.05]] a red circle", step_count=10)
        events = [client.receive(timeout=PATIENCE_SECONDS)]
        while events[-1][0] != "job_completed":
            events.append(client.receive(timeout=PATIENCE_SECONDS))
    assert_whole([name.removeprefix("job_") for name, _ in events], [data["event_id"] for _, data in events])
    assert events[-1][1]["completed"]["images"]


def test_node_s_socket_io_client_follows_a_generation(calm: Stage) -> None:
    node = shutil.which("node")
    if node is None or not (NODE_CLIENT.parents[2] / "web/node_modules/socket.io-client").exists():
        pytest.skip("Node and the page's packages aren't installed")
    person = calm.person("pro")
    environment = {**os.environ, "STUDIO_URL": calm.fleet.http, "STUDIO_TOKEN": token_of(person)}
    with subprocess.Popen(
        [node, str(NODE_CLIENT)], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as client:
        assert client.stderr is not None
        assert client.stderr.readline() == "subscribed {}\n"
        person.create("[[slow=0.05]] a red circle", step_count=10)
        output, errors = client.communicate(timeout=2 * PATIENCE_SECONDS)
    assert client.returncode == 0, errors
    events = json.loads(output)
    assert_whole([name.removeprefix("job_") for name, _ in events], [event_id for _, event_id in events])


_KINDS = {"queued", "started", "progress", "completed", "failed", "cancelled"}
