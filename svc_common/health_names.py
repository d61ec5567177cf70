"""The names under which grpc.health.v1 tells more than how a service is. Imports the standard library only."""

from typing import Final

STORAGE_HEALTH: Final = "storage"
"""Whether a service's stores have room."""
WORKERS_HEALTH: Final = "workers"
"""Whether there are workers, of the service that owns the jobs."""
