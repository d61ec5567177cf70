"""The option --seed: what a seed may be, said before anything is sent."""

from typing import Final

import click

_SEEDS: Final = 2**53


class Seed(click.ParamType[int]):
    """A whole number from 0 to 2^53 - 1."""

    name = "integer"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads a seed; one of another tool that is too large is refused with the one to take instead."""
        try:
            seed = int(str(value))
        except ValueError:
            self.fail(f"{value!r} isn't a whole number.", param, ctx)
        if seed < 0:
            self.fail(f"a seed is 0 to {_SEEDS - 1} (2^53 - 1). Leave --seed out to have one drawn.", param, ctx)
        if seed >= _SEEDS:
            self.fail(
                f"a seed is 0 to {_SEEDS - 1} (2^53 - 1). Take {seed % _SEEDS}, which is {seed} modulo 2^53.",
                param,
                ctx,
            )
        return seed
