"""Our schedulers by the names that other tools give them."""

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from svc_generation.domain.recipes.findings import Findings

# Compared in lower case, with one space for any run of spaces, underscores and hyphens.
_NAMES: Final = MappingProxyType(
    {
        "euler": "euler",
        "k euler": "euler",
        "euler a": "euler_a",
        "k euler a": "euler_a",
        "euler ancestral": "euler_a",
        "dpm++ 2m": "dpmpp_2m",
        "dpmpp 2m": "dpmpp_2m",
        "k dpmpp 2m": "dpmpp_2m",
        "ddim": "ddim",
        "unipc": "unipc",
        "uni pc": "unipc",
        "lcm": "lcm",
        "flow match": "flow_match",
        "flowmatch": "flow_match",
    }
)
# Spacings of the noise levels that mean the model's own one.
_OWN_SPACINGS: Final = frozenset({"", "automatic", "normal", "uniform", "default", "discrete"})
_SPACING: Final = re.compile(r" (?:karras|exponential|k)\Z")


@dataclass(frozen=True, slots=True)
class Sampler:
    """What a tool's sampler is here."""

    scheduler: str
    """One of our schedulers; empty where none corresponds."""
    has_own_spacing: bool
    """Whether its noise levels are spaced as the model's own are, which is the only spacing here."""


def sampler_of(name: str, spacing: str = "") -> Sampler:
    """Returns what corresponds to a sampler, whose spacing may stand in its name or beside it."""
    plain = _plain(name)
    # "euler_k" is InvokeAI's for Karras; "k_euler" is merely k-diffusion's Euler.
    found = _SPACING.search(plain)
    plain = plain[: found.start()] if found else plain
    return Sampler(_NAMES.get(plain, ""), found is None and _plain(spacing) in _OWN_SPACINGS)


def take_sampler(found: Findings, part: str, name: str, spacing: str = "") -> None:
    """Takes a sampler of another tool, if one of our schedulers corresponds to it."""
    sampler = sampler_of(name, spacing)
    if not sampler.scheduler:
        found.leave_out(part, name, "No scheduler here corresponds to it.")
        return
    found.scheduler = sampler.scheduler
    if not sampler.has_own_spacing:
        message = (
            f"Taken as {sampler.scheduler} with the model's own spacing of noise levels, which is the only one here."
        )
        found.change(part, f"{name} {spacing}".strip(), message)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name[:100]).strip().lower()
