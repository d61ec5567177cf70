"""Owns the loading of the Lua scripts: constants and shared moves in front, one file for each script."""

from dataclasses import dataclass
from importlib.resources import files

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from svc_common.queue.keys import lua_constants
from svc_common.queue.policy import QueuePolicy


def script_source(name: str, policy: QueuePolicy) -> str:
    """Returns the complete Lua source of the script of that name."""
    folder = files("svc_common.queue") / "lua"
    parts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("shared", name)]
    return "".join([lua_constants(), policy.lua_constants(), *parts])


@dataclass(frozen=True, slots=True)
class QueueScripts:
    """The queue's scripts, registered with a client; each is loaded into the server when it is first missed there."""

    enqueue: AsyncScript
    claim: AsyncScript
    renew: AsyncScript
    finish: AsyncScript
    hand_back: AsyncScript
    remove: AsyncScript
    missing: AsyncScript
    leased: AsyncScript
    depths: AsyncScript
    position: AsyncScript
    upcoming: AsyncScript
    pause: AsyncScript

    @classmethod
    def register(cls, redis: Redis, policy: QueuePolicy) -> "QueueScripts":
        """Returns the scripts for that policy."""
        return cls(**{name: redis.register_script(script_source(name, policy)) for name in cls.__slots__})
