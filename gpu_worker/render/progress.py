"""How far a render is: counts steps, estimates what is left, and says when a preview is due.

Owns no clock (it is given one) and no picture.
"""

from collections.abc import Callable

PREVIEW_INTERVAL_S = 0.25
"""Four previews a second look alive; more would cost bandwidth that nobody sees."""


class RenderProgress:
    """The steps of one render of several images, measured as they end."""

    def __init__(self, *, step_count: int, image_count: int, clock: Callable[[], float]) -> None:
        """Starts measuring; step_count is for each image, the clock in seconds."""
        self._steps_per_image = step_count
        self._image_count = image_count
        self._clock = clock
        self._completed_steps = 0
        self._previous_s = clock()
        self._previous_preview_s: float | None = None
        self._step_seconds: list[float] = []
        self._image_seconds: list[float] = []

    @property
    def completed_steps(self) -> int:
        """Steps done over all images."""
        return self._completed_steps

    @property
    def step_count(self) -> int:
        """Steps of all images together."""
        return self._steps_per_image * self._image_count

    def expect(self, step_count: int) -> None:
        """Changes the steps of each image, for work whose parts are known only once it began."""
        self._steps_per_image = step_count

    def step_done(self) -> None:
        """Counts a step that ended just now."""
        self._completed_steps += 1
        self._step_seconds.append(self._lap())

    def image_done(self) -> None:
        """Counts the end of an image: what passed since its last step was its decoding."""
        self._image_seconds.append(self._lap())

    def preview_due(self) -> bool:
        """Tells whether this step wants a preview: the first, the last of an image, and any after PREVIEW_INTERVAL_S.

        A true answer starts the next interval.
        """
        now_s = self._previous_s
        waited = self._previous_preview_s is None or now_s - self._previous_preview_s >= PREVIEW_INTERVAL_S
        if not waited and self._completed_steps % self._steps_per_image:
            return False
        self._previous_preview_s = now_s
        return True

    def seconds_left(self) -> float:
        """Estimates the seconds until the last image is decoded, after at least one step.

        The very first step also pays for the prompt and for warming up, so it only counts while there is no other.
        An image that was not decoded yet is taken to need as long as a step.
        """
        steps = self._step_seconds[1:] or self._step_seconds
        step_s = sum(steps) / len(steps)
        image_s = sum(self._image_seconds) / len(self._image_seconds) if self._image_seconds else step_s
        images_left = self._image_count - len(self._image_seconds)
        return (self.step_count - self._completed_steps) * step_s + images_left * image_s

    def _lap(self) -> float:
        now_s = self._clock()
        lap_s, self._previous_s = now_s - self._previous_s, now_s
        return lap_s
