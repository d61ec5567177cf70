"""Pictures in a terminal: two pixels in each cell, one as the colour of a half block and one behind it."""

import io
from typing import IO

from PIL import Image
from rich.color import Color
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style

_UPPER_HALF_BLOCK = "▀"
_COLOUR_SYSTEMS = frozenset({"truecolor", "256"})


def picture_console(*, quiet: bool = False, always: bool = False, file: IO[str] | None = None) -> Console:
    """Returns a console for output with pictures in it, on standard output or another file.

    Rich takes a terminal that calls itself plain `xterm` for one of 16 colours; there has been none such for decades, so
    256 are used there. With `always`, pictures are drawn even where no terminal reads: a log keeps them, too.
    """
    console = Console(highlight=False, quiet=quiet, file=file)
    if console.no_color:
        return console
    if console.is_terminal and console.color_system == "standard":
        return Console(highlight=False, quiet=quiet, file=file, color_system="256")
    if always and not console.is_terminal:
        return Console(
            highlight=False,
            quiet=quiet,
            file=file,
            force_terminal=True,
            force_interactive=False,
            color_system="truecolor",
        )
    return console


def can_show(console: Console) -> bool:
    """Returns whether a terminal reads this output and has colours enough for a picture."""
    return console.is_terminal and not console.no_color and console.color_system in _COLOUR_SYSTEMS


def decode(data: bytes) -> Image.Image:
    """Returns the picture in a PNG or JPEG, in RGB."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def half_blocks(picture: Image.Image, *, columns: int) -> Segments:
    """Returns a picture for the terminal, this many columns wide at its own proportions.

    A cell is about twice as high as wide, so that its two halves are square pixels.
    """
    rows = max(1, round(columns * picture.height / picture.width / 2))
    pixels = picture.resize((columns, rows * 2), Image.Resampling.LANCZOS).tobytes()
    segments: list[Segment] = []
    for row in range(rows):
        segments += [_cell(pixels, columns, column, row) for column in range(columns)]
        segments.append(Segment.line())
    return Segments(segments)


def _cell(pixels: bytes, columns: int, column: int, row: int) -> Segment:
    upper = (2 * row * columns + column) * 3
    lower = upper + columns * 3
    foreground, background = Color.from_rgb(*pixels[upper : upper + 3]), Color.from_rgb(*pixels[lower : lower + 3])
    return Segment(_UPPER_HALF_BLOCK, Style(color=foreground, bgcolor=background))
