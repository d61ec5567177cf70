"""What a stack is declared to be: its ports, its secrets, its connections, and the order of its processes."""

import json
import os
import stat
from collections import Counter
from pathlib import Path

import pytest

from studio.stack import graph, log_tail
from studio.stack.connections import DatabaseConnection, ObjectStoreConnection
from studio.stack.failures import StackError
from studio.stack.keys import ensure_role_passwords, ensure_secrets
from studio.stack.layout import HIGHEST_OFFSET, MAX_WORKERS, Layout, Ports
from studio.stack.local import StackOptions, declare
from studio.stack.process import Process
from studio.stack.state import StackLock, is_running
from svc_common.key_sets import KeySet
from svc_common.registry import AREAS, CALLERS, SERVICES
from svc_common.tokens import ServiceCredential, ServiceTokens, SigningKey

_RUNNING_SERVERS = {
    "DATABASE_URL": "postgresql://admin:secret@db.example.com:5433/shop",
    "REDIS_URL": "redis://cache.example.com:6379/2",
    "S3_ENDPOINT_URL": "https://s3.example.com",
    "S3_ACCESS_KEY": "access",
    "S3_SECRET_KEY": "secret",
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path, Ports(20_000))
    layout.create()
    return layout


def _processes(layout: Layout, environment: dict[str, str], worker_count: int = 1) -> dict[str, Process]:
    nodes = declare(layout, ensure_secrets(layout.keys), environment, StackOptions(worker_count=worker_count))
    return {name: node for name, node in graph.by_name(nodes).items() if isinstance(node, Process)}


def test_no_two_processes_want_the_same_port(layout: Layout) -> None:
    processes = _processes(layout, {}, MAX_WORKERS)
    ports = Counter(listener.port for process in processes.values() for listener in process.listeners)
    assert {port for port, count in ports.items() if count > 1} == set()
    assert max(ports) == layout.ports.base + HIGHEST_OFFSET


def test_published_ports_are_kept() -> None:
    ports = Ports()
    assert (ports.edge, ports.postgres, ports.redis, ports.s3) == (8080, 8032, 8079, 8033)
    assert [ports.public(area) for area in AREAS] == [8001, 8002, 8003, 8004, 8005]
    assert [ports.internal(area) for area in AREAS] == [8101, 8102, 8103, 8104, 8105]
    assert [ports.metrics(area) for area in AREAS] == [8011, 8012, 8013, 8014, 8015]
    assert ports.bridge == 8006
    assert ports.worker_metrics(1) == 8022


def test_running_servers_take_the_place_of_our_own(layout: Layout) -> None:
    processes = _processes(layout, _RUNNING_SERVERS)
    assert {"postgres", "redis", "s3"}.isdisjoint(processes)
    environment = processes["svc_payment"].environment
    password = json.loads((layout.keys / "role-passwords.json").read_text())["shop_payment_tasks"]
    assert environment["TASKS_DATABASE_URL"] == (
        f"postgresql+asyncpg://shop_payment_tasks:{password}@db.example.com:5433/shop"
    )
    assert environment["REDIS_URL"] == _RUNNING_SERVERS["REDIS_URL"]
    gallery, models = processes["svc_gallery"].environment, processes["svc_models"].environment
    for store in (gallery, models):
        assert store["S3_ENDPOINT_URL"] == store["S3_PUBLIC_ENDPOINT_URL"] == "https://s3.example.com"
    assert (gallery["S3_BUCKET"], models["MODELS_BUCKET"]) == ("pingvas", "pingvas-models")


def test_own_object_store_has_a_bucket_of_pictures_and_one_of_models(layout: Layout) -> None:
    processes = _processes(layout, {})
    buckets = {
        processes["svc_gallery"].environment["S3_BUCKET"],
        processes["svc_models"].environment["MODELS_BUCKET"],
    }
    assert {path.name for path in layout.s3.iterdir()} == buckets


def test_processes_get_the_secrets_only_that_they_need(layout: Layout) -> None:
    environments = {name: process.environment for name, process in _processes(layout, {}).items()}

    def holders(word: str) -> set[str]:
        return {name for name, given in environments.items() if any(word in variable for variable in given)}

    ours = {service.name for service in SERVICES}
    assert holders("DATABASE") == ours
    assert holders("S3_SECRET_KEY") == {"svc_user", "svc_generation", "svc_gallery", "svc_models"}
    assert holders("SIGNING_KEY") == holders("SMTP_URL") == {"svc_user"}
    assert holders("LEMON_SQUEEZY_KEY") | holders("POLAR_KEY") <= {"svc_payment"}
    assert holders("SERVICE_KEY_FILE") == ours | {"worker-0", "edge_http"}


def test_settings_of_the_caller_replace_the_usual_ones(layout: Layout) -> None:
    options = StackOptions(overrides={"LEASE_SECONDS": "3", "LOG_LEVEL": "debug"})
    nodes = graph.by_name(declare(layout, ensure_secrets(layout.keys), {}, options))
    for name in ("svc_generation", "worker-0"):
        node = nodes[name]
        assert isinstance(node, Process)
        assert (node.environment["LEASE_SECONDS"], node.environment["LOG_LEVEL"]) == ("3", "debug")


def test_secrets_are_private_and_never_change(layout: Layout) -> None:
    first = ensure_secrets(layout.keys)
    ensure_role_passwords(first, ["a_requests"])
    files = {file: file.read_bytes() for file in layout.keys.iterdir()}
    again = ensure_secrets(layout.keys)
    ensure_role_passwords(again, ["a_requests", "b_requests"])
    assert again == first
    passwords = json.loads(files.pop(first.role_passwords))
    assert again.role_password("a_requests") == passwords["a_requests"] != again.role_password("b_requests")
    assert {file: file.read_bytes() for file in files} == files
    private = [file for file in files if "jwks" not in file.name]
    assert {stat.S_IMODE(file.stat().st_mode) for file in private} == {0o600}
    assert stat.S_IMODE(layout.keys.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", CALLERS)
def test_credential_of_every_caller_is_accepted(layout: Layout, name: str) -> None:
    made = ensure_secrets(layout.keys)
    token = ServiceCredential.from_file(name, made.service_key(name)).token()
    assert ServiceTokens(KeySet.from_file(made.service_jwks)).verify(token) == name


def test_published_user_key_is_the_one_that_signs(layout: Layout) -> None:
    made = ensure_secrets(layout.keys)
    assert SigningKey.from_file(made.user_signing_key).jwk in json.loads(made.user_jwks.read_text())["keys"]


@pytest.mark.parametrize("url", ["", "mysql://h/d", "postgresql:///d", "postgresql://h", "postgresql://h/"])
def test_address_that_is_no_database_is_refused(url: str) -> None:
    with pytest.raises(StackError, match="DATABASE_URL"):
        DatabaseConnection.parse(url)


def test_driver_in_the_address_makes_no_difference() -> None:
    connection = DatabaseConnection.parse("postgresql+asyncpg://admin:s%40cret@h:1/d")
    assert connection.admin_url == "postgresql://admin:s%40cret@h:1/d"
    assert connection.url_for("d_user_tasks", "p/w") == "postgresql+asyncpg://d_user_tasks:p%2Fw@h:1/d"


def test_object_store_without_its_keys_is_refused() -> None:
    with pytest.raises(StackError, match="S3_SECRET_KEY"):
        ObjectStoreConnection.parse({"S3_ENDPOINT_URL": "http://h", "S3_ACCESS_KEY": "a"})


def test_lock_admits_one_stack_a_folder_and_ends_with_it(layout: Layout) -> None:
    with StackLock(layout):
        assert is_running(layout)
        with pytest.raises(StackError, match="already runs"), StackLock(layout):
            pass
    assert not is_running(layout)


def test_end_of_a_log_is_that_of_this_run(tmp_path: Path) -> None:
    log = tmp_path / "svc_user.log"
    log.write_text("before\n" * 100)
    start = log_tail.size(log)
    assert log_tail.tail(log, since_byte=start) == ""
    with log.open("a") as stream:
        stream.writelines(f"line {number}\n" for number in range(30))
    assert log_tail.tail(log, since_byte=start).splitlines() == [f"line {number}" for number in range(10, 30)]


def test_log_that_has_grown_too_large_goes_on_empty_for_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "svc_user.log"
    writer = log_tail.open_for_append(log)
    try:
        os.write(writer, b"x" * (10 * 1024 * 1024) + b"\nbefore\n")
        start = log_tail.size(log)
        log_tail.rotate(log)
        os.write(writer, b"after\n")
        log_tail.rotate(log)
    finally:
        os.close(writer)
    assert log.read_bytes() == b"after\n"
    assert log_tail.tail(log, since_byte=start) == "after"
    assert (tmp_path / "svc_user.log.1").read_bytes().endswith(b"x\nbefore\n")
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
