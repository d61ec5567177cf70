"""Owns the name of every Redis key of the job queue, for Python and Lua alike.

The scripts get these names as constants, so a key is spelled in this file only. What the keys mean together is said in
`lua/shared.lua`. Names are composed inside the scripts (a claim can't know its account beforehand), therefore the queue
needs one Redis primary, alone or behind Sentinel, and not Redis Cluster.
"""

from enum import StrEnum


class Key(StrEnum):
    """A key, or the prefix of a family of keys; prefixes end in a colon."""

    PAYLOAD = "arq:job:"
    """+ job id: string, the job in arq's own encoding."""
    LEASE = "arq:in-progress:"
    """+ job id: string `worker:fence` that expires with the lease; arq reads its presence as "running"."""
    TIER_QUEUE = "arq:q:"
    """+ tier: zset of the ids of all waiting and leased jobs by creation time (ms); what arq and autoscalers read."""

    JOB = "queue:job:"
    """+ job id: hash of what the scripts need to know about a job."""
    LINE = "queue:line:"
    """+ tier:account: zset of the account's waiting jobs by creation time (ms)."""
    FAIR = "queue:fair:"
    """+ tier: zset of the accounts that may be served now by virtual time (millicredits)."""
    REST = "queue:rest:"
    """+ tier: zset of the accounts with nothing to start now by the virtual time at which they left `FAIR`."""
    AGE = "queue:age:"
    """+ tier: zset of the accounts in `FAIR` by the creation time (ms) of their oldest waiting job."""
    CLOCK = "queue:clock"
    """hash tier -> virtual clock (millicredits): the least virtual time after the latest claim."""
    RUNNING = "queue:running:"
    """+ account: set of the account's leased jobs, in all tiers."""
    LEASES = "queue:leases:"
    """+ tier: zset of leased jobs by the time at which their lease lapses (ms)."""
    ENDED = "queue:ended:"
    """+ job id: string, the fence up to which all leases of the job are void; expires."""
    FENCE = "queue:fence"
    """string: the latest fence given out."""
    CLAIMS = "queue:claims"
    """string: how many claims there have been; every so many serve the starvation guard."""
    WAKE = "queue:wake"
    """list of wake tokens, one for each job that became claimable; idle workers block on it."""
    WAKE_WORKER = "queue:wake-worker:"
    """+ worker id: list that wakes this one worker, for its shutdown."""
    CANCEL = "queue:cancel:"
    """+ job id: string, present while a cancellation is wanted; expires."""
    WORKERS = "queue:workers"
    """zset of the ids of workers by the time at which they were last heard of (ms)."""
    WORKER = "queue:worker:"
    """+ worker id: string, what the worker says of itself, as JSON; expires."""
    DRAIN = "queue:drain:"
    """+ worker id: string, present while the worker is asked to end; expires."""
    PAUSED = "queue:paused"
    """set of the tiers that nothing is claimed of; the service that owns the jobs writes it anew after a loss."""
    CANCELLATIONS = "queue:cancellations"
    """pub/sub channel of the ids of jobs whose cancellation is wanted."""


def lua_constants() -> str:
    """Returns the Lua source that declares every key of this module as a local constant of the same name."""
    return "".join(f"local {key.name} = '{key.value}'\n" for key in Key)
