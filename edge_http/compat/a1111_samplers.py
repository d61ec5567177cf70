"""The names of AUTOMATIC1111's samplers, and which of our schedulers each of them is."""

import re
from typing import Final

from svc_common.errors import invalid_field

OWN: Final = "Automatic"
"""Stands for the model's own scheduler, as for its own spacing of noise levels."""
# Theirs -> ours; where several are the same, the first is the one that is shown.
_SCHEDULERS: Final = {
    "Euler": "euler",
    "Euler a": "euler_a",
    "DPM++ 2M": "dpmpp_2m",
    "DDIM": "ddim",
    "UniPC": "unipc",
    "LCM": "lcm",
    "Flow match": "flow_match",
    "k_euler": "euler",
    "k_euler_a": "euler_a",
    "k_euler_ancestral": "euler_a",
    "Euler ancestral": "euler_a",
    "k_dpmpp_2m": "dpmpp_2m",
    "DPMPP 2M": "dpmpp_2m",
}
# Until their version 1.9 a sampler's name had the spacing in it.
_SPACING: Final = re.compile(r" (karras|exponential|sgm uniform|simple|automatic|uniform|normal)$")
_OWN_SPACINGS: Final = frozenset({"", "automatic", "normal", "uniform", "none"})


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name[:100]).strip().lower()


_BY_PLAIN_NAME: Final = {_plain(name): ours for name, ours in _SCHEDULERS.items()}


def scheduler_of(name: str, field: str) -> str:
    """Returns our scheduler; empty for the model's own. The spacing in a name is `spacing_of`'s.

    Raises:
        ServiceError: INVALID_FIELD, for a sampler that isn't here.
    """
    plain = _SPACING.sub("", _plain(name))
    if plain in ("", "automatic", "none"):
        return ""
    if plain not in _BY_PLAIN_NAME:
        raise invalid_field(field, f"no sampler here is called so; take one of {', '.join((OWN, *names()))}")
    return _BY_PLAIN_NAME[plain]


def has_own_spacing(sampler: str, spacing: str) -> bool:
    """Returns whether the noise levels that are wanted are spaced as the model's own are, the only spacing here."""
    found = _SPACING.search(_plain(sampler))
    return _plain(spacing) in _OWN_SPACINGS and (found is None or found[1] in _OWN_SPACINGS)


def name_of(scheduler: str) -> str:
    """Returns the name that they have for one of our schedulers, or ours where they have none."""
    return next((name for name, ours in _SCHEDULERS.items() if ours == scheduler), scheduler)


def names() -> list[str]:
    """Returns a name for each of our schedulers."""
    return list(dict.fromkeys(name_of(ours) for ours in _SCHEDULERS.values()))
