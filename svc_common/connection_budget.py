"""How many connections to PostgreSQL a process may open, so that all processes together stay below the server's limit.

PostgreSQL refuses the connection after the last one that it allows, whoever asks: a service that scales out would shut the
others out. So each process has a fixed share, which it never exceeds; a call that finds none free waits, and is then
refused as OVERLOADED.
"""

from typing import Final

from svc_common.capacity import Capacity
from svc_common.db import Database
from svc_common.settings import LEAST_CONNECTIONS, ServiceSettings

RESERVED: Final = 15
"""PostgreSQL's own superuser_reserved_connections (3), migrations (2), and backups, exporters and people who look."""


def share_of_each(limit: int, processes: int) -> int:
    """Returns the most connections that each of so many processes may open on a server with `max_connections = limit`.

    Raises ValueError when that is less than a process needs.
    """
    share = (limit - RESERVED) // processes
    if share < LEAST_CONNECTIONS:
        needed = processes * LEAST_CONNECTIONS + RESERVED
        raise ValueError(f"{processes} processes need max_connections of {needed} at least, and PostgreSQL has {limit}")
    return share


def service_databases(
    settings: ServiceSettings, capacity: Capacity, *, sweeps: int, others: int = 0, tasks_share: float = 0.25
) -> tuple[Database, Database]:
    """Returns the pools of a process for requests and for tasks, which share what it may open.

    `sweeps` is how many the service has: each holds its lock on a connection while it waits for another to do its work,
    so there must be more connections than sweeps. `others` is how much other work in the background has the role for
    tasks. `tasks_share` is the part for tasks where that is more; a service raises it that answers calls with that role.
    """
    tasks = max(sweeps + 1 + others, round(settings.database_connections * tasks_share))
    requests, wait = settings.database_connections - tasks, settings.database_wait_seconds
    return (
        Database(settings.database_url, pool_size=requests, overflow=0, wait_seconds=wait, capacity=capacity),
        Database(
            settings.tasks_database_url,
            pool_size=tasks,
            overflow=0,
            wait_seconds=wait,
            most_sweeps=sweeps,
            capacity=capacity,
        ),
    )
