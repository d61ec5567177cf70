"""Writes Grafana's dashboards: `python observe/dashboards.py`, or with `--check` only compares.

A dashboard is a title and rows of panels; a panel is a title, a unit and its queries. Where they stand and what Grafana
wants besides is computed.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent / "grafana" / "dashboards"
DATASOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
_WIDTH, _HEIGHT = 24, 8
_FAILED: Final = 'code=~"INTERNAL|UNAVAILABLE|UNKNOWN|DATA_LOSS"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph, or with `is_number` one number. Queries by what their legend says; `{{label}}` stands for a label's value."""

    title: str
    unit: str
    queries: dict[str, str]
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels that share the width."""

    uid: str
    title: str
    rows: tuple[tuple[Panel, ...], ...]


def _quantile(q: float, histogram: str, by: str, where: str = "") -> str:
    return f"histogram_quantile({q}, sum by ({by}, le) (rate({histogram}_bucket{where}[$__rate_interval])))"


def _rate(counter: str, by: str = "", where: str = "") -> str:
    grouping = f" by ({by}) " if by else ""
    return f"sum{grouping}(rate({counter}{where}[$__rate_interval]))"


CALLS: Final = _rate("rpc_server_seconds_count")
WAITING: Final = 'max by (tier) (queue_jobs{state="waiting"})'

DASHBOARDS: Final = (
    Dashboard(
        "pingvas-overview",
        "Pingvas: overview",
        (
            (
                Panel("Calls a second", "reqps", {"calls": CALLS}, is_number=True),
                Panel(
                    "Failed by our fault",
                    "percentunit",
                    {"part": f"{_rate('rpc_server_seconds_count', where='{' + _FAILED + '}')} / {CALLS}"},
                    is_number=True,
                ),
                Panel("Jobs waiting", "none", {"jobs": f"sum({WAITING})"}, is_number=True),
                Panel("Workers", "none", {"there": "max(workers_present)"}, is_number=True),
                Panel("Full stores", "none", {"stores": "sum(max by (store) (storage_full))"}, is_number=True),
            ),
            (
                Panel("Calls by code", "reqps", {"{{code}}": _rate("rpc_server_seconds_count", "code")}),
                Panel("Jobs that ended", "ops", {"{{outcome}}": _rate("jobs_ended_total", "outcome")}),
            ),
            (
                Panel("Wait of jobs, p90", "s", {"{{tier}}": _quantile(0.9, "job_wait_seconds", "tier")}),
                Panel("Parts that show figures", "none", {"{{part}}": "sum by (part) (up)"}),
            ),
        ),
    ),
    Dashboard(
        "pingvas-queue",
        "Pingvas: queue and workers",
        (
            (
                Panel("Waiting by tier", "none", {"{{tier}}": WAITING}),
                Panel("Running by tier", "none", {"{{tier}}": 'max by (tier) (queue_jobs{state="running"})'}),
            ),
            (
                Panel(
                    "Workers",
                    "none",
                    {"there": "max(workers_present)", "wanted": "max(workers_wanted)"},
                ),
                Panel("Start of a worker", "s", {"measured": "max(worker_start_seconds)"}),
            ),
            (
                Panel("Wait, median", "s", {"{{tier}}": _quantile(0.5, "job_wait_seconds", "tier")}),
                Panel("Wait, p99", "s", {"{{tier}}": _quantile(0.99, "job_wait_seconds", "tier")}),
            ),
            (
                Panel("Render, median", "s", {"{{model_id}}": _quantile(0.5, "render_seconds", "model_id")}),
                Panel(
                    "Loads and faults of models",
                    "ops",
                    {
                        "loads {{model_id}}": _rate("model_loads_total", "model_id"),
                        "faults {{model_id}}": _rate("model_faults_total", "model_id"),
                    },
                ),
                Panel("GPU memory", "bytes", {"{{instance}} {{kind}}": "gpu_memory_bytes"}),
            ),
        ),
    ),
    Dashboard(
        "pingvas-services",
        "Pingvas: services",
        (
            (
                Panel(
                    "Calls by method",
                    "reqps",
                    {"{{method}}": f"topk(15, {_rate('rpc_server_seconds_count', 'method')})"},
                ),
                Panel(
                    "p99 by method", "s", {"{{method}}": f"topk(15, {_quantile(0.99, 'rpc_server_seconds', 'method')})"}
                ),
            ),
            (
                Panel(
                    "Failed by our fault",
                    "reqps",
                    {"{{method}} {{code}}": _rate("rpc_server_seconds_count", "method, code", "{" + _FAILED + "}")},
                ),
                Panel("Refused", "reqps", {"{{code}}": _rate("rpc_server_seconds_count", "code", '{code!="OK"}')}),
            ),
            (
                Panel("Rows that sweeps repaired", "ops", {"{{sweep}}": _rate("sweep_rows_total", "sweep")}),
                Panel("Sweeps that failed", "ops", {"{{sweep}}": _rate("sweep_failures_total", "sweep")}),
                Panel("Duration of sweeps, p90", "s", {"{{sweep}}": _quantile(0.9, "sweep_seconds", "sweep")}),
                Panel("Refused at closing", "ops", {"{{obstacle}}": _rate("finalize_refusals_total", "obstacle")}),
            ),
        ),
    ),
)


def document(dashboard: Dashboard) -> dict[str, Any]:
    """Returns a dashboard as Grafana reads it."""
    panels = []
    for line, row in enumerate(dashboard.rows):
        width = _WIDTH // len(row)
        for column, panel in enumerate(row):
            place = {"x": column * width, "y": line * _HEIGHT, "w": width, "h": _HEIGHT}
            panels.append(_panel(panel, len(panels) + 1, place))
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["pingvas"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "panels": panels,
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": query, "legendFormat": legend}
        for index, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": "stat" if panel.is_number else "timeseries",
        "title": panel.title,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def texts() -> dict[str, str]:
    """Returns the content of each file by its name."""
    return {f"{one.uid}.json": json.dumps(document(one), indent=2) + "\n" for one in DASHBOARDS}


def main() -> int:
    """Runs the command; returns its exit code."""
    changed = [
        name
        for name, text in texts().items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text(encoding="utf-8") != text
    ]
    if "--check" not in sys.argv:
        for name in changed:
            (FOLDER / name).write_text(texts()[name], encoding="utf-8")
        return 0
    for name in changed:
        sys.stderr.write(f"observe/grafana/dashboards/{name} isn't as generated: run `python observe/dashboards.py`\n")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
