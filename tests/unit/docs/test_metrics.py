"""Metrics, alerts and dashboards: the table is what the processes declare, and nobody asks for a figure that isn't there."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

ROOT: Final = Path(__file__).resolve().parents[3]
ALERTS: Final = ROOT / "observe" / "prometheus" / "alerts.yaml"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
DASHBOARDS: Final = sorted((ROOT / "observe" / "grafana" / "dashboards").glob("*.json"))
PROCESSES: Final = ("svc_user", "svc_payment", "svc_generation", "svc_gallery", "svc_models", "gpu_worker")
ROW: Final = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \|(?P<labels>[^|]*)\| [^|]+ \| [^|]+ \|$", re.MULTILINE)
FROM_PROMETHEUS: Final = {"up": {"part", "instance", "job"}}
TARGET_LABELS: Final = {"part", "instance", "job"}

Metric = tuple[str, frozenset[str]]


def documented() -> dict[str, Metric]:
    text = (ROOT / "docs" / "metrics.md").read_text()
    rows = {row["name"]: (row["kind"], frozenset(re.findall(r"`(\w+)`", row["labels"]))) for row in ROW.finditer(text)}
    assert len(rows) == text.count("\n| `")
    return rows


def declared() -> dict[str, Metric]:
    for process in PROCESSES:
        importlib.import_module(f"{process}.main")
    ours = [one for one in REGISTRY._collector_to_names if isinstance(one, MetricWrapperBase)]
    return {
        one._name + ("_total" if one._type == "counter" else ""): (one._type, frozenset(one._labelnames))
        for one in ours
    }


def series() -> dict[str, set[str]]:
    """Returns the labels of everything that can be asked for, by the name that queries use."""
    found = {name: set(labels) | TARGET_LABELS for name, labels in FROM_PROMETHEUS.items()}
    for name, (kind, labels) in documented().items():
        endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        for ending in endings:
            found[name + ending] = set(labels) | TARGET_LABELS | ({"le"} if ending == "_bucket" else set())
    return found


def selectors(node: Any) -> Iterator[Any]:
    """Yields the selectors of an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    elif isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
    else:
        for name in ("lhs", "rhs", "expr", "param"):
            below = getattr(node, name, None)
            if isinstance(below, promql_parser.Expr):
                yield from selectors(below)
        for argument in getattr(node, "args", None) or ():
            yield from selectors(argument)


def faults_of(expression: str) -> list[str]:
    """Returns what an expression asks for that isn't there."""
    parsed = promql_parser.parse(expression.replace("$__rate_interval", "1m"))
    known, faults = series(), []
    found = list(selectors(parsed))
    if not found:
        faults.append(f"asks for nothing: {expression}")
    for selector in found:
        if selector.name not in known:
            faults.append(f"{selector.name} is no metric")
            continue
        labels = {matcher.name for matcher in selector.matchers.matchers}
        faults += [f"{selector.name} has no label {label}" for label in labels - known[selector.name]]
    groupings = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}
    everything = set().union(*known.values())
    return faults + [f"no metric has the label {label}" for label in groupings - everything]


def rules() -> dict[str, Any]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_the_table_is_what_the_processes_declare() -> None:
    assert documented() == {name: metric for name, metric in declared().items() if not name.startswith("test_")}


@pytest.mark.parametrize("alert", list(rules()))
def test_alerts_ask_for_what_there_is_and_have_a_page(alert: str) -> None:
    rule = rules()[alert]
    assert faults_of(rule["expr"]) == []
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    page = (RUNBOOKS / f"{alert}.md").read_text()
    assert page.startswith(f"# {alert}\n")
    for part in ("**What it means.**", "**What users notice.**", "**What to do.**"):
        assert part in page


def test_every_page_is_of_an_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == set(rules())


def test_queries_in_the_pages_ask_for_what_there_is() -> None:
    names = set(documented())
    for page in RUNBOOKS.glob("*.md"):
        for quoted in re.findall(r"`([^`]+)`", page.read_text()):
            if any(name in quoted for name in names) and "(" in quoted:
                assert faults_of(quoted) == [], page.name


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_dashboards_ask_for_what_there_is(file: Path) -> None:
    dashboard = json.loads(file.read_text())
    assert dashboard["uid"] == file.stem
    source = yaml.safe_load((ROOT / "observe/grafana/provisioning/datasources/prometheus.yaml").read_text())
    uids = {one["uid"] for one in source["datasources"]}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids) > 0
    for panel in dashboard["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel["targets"]:
            assert faults_of(target["expr"]) == [], panel["title"]
            assert target["datasource"]["uid"] in uids


def test_dashboards_are_as_generated() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "observe" / "dashboards.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_query_for_what_is_not_there_is_found() -> None:
    assert faults_of("sum(rate(no_such_total[5m]))") == ["no_such_total is no metric"]
    assert faults_of('storage_full{shop="a"}') == ["storage_full has no label shop"]
    assert faults_of("sum by (shop) (storage_full)") == ["no metric has the label shop"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of the package prometheus) isn't installed")
@pytest.mark.parametrize("arguments", [("test", "rules", "alerts.test.yaml"), ("check", "config", "prometheus.yaml")])
def test_prometheus_takes_rules_and_configuration(arguments: tuple[str, ...]) -> None:
    command = ["/usr/bin/env", "promtool", *arguments]
    ran = subprocess.run(command, cwd=ALERTS.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
