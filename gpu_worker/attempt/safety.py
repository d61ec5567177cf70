"""What may not be drawn: a hook that looks at prompts before a render, and at pictures before they leave the worker.

Owns the order and the refusals' words. Off unless settings name a blocklist or a classifier: what is forbidden is for the
operator to say. Leaves the classifier itself to the module that the operator names.
"""

import asyncio
import re
import unicodedata
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

from gpu_worker.render.interface import Pixels, RenderSpec

_PROMPT_MESSAGE: Final = "The safety policy doesn't allow this prompt. Change it."
_PICTURE_MESSAGE: Final = "The safety policy doesn't allow the picture that came out. Change the prompt."
# A Korean noun takes particles without a space, and a plural before them.
_PARTICLES: Final = (
    "은 는 이 가 을 를 의 에 에서 에게 한테 로 으로 와 과 랑 이랑 하고 도 만 까지 부터 마다 처럼 같이 보다 이나 나 이다"
)
_KOREAN_ENDING: Final = f"(?:들)?(?:{'|'.join(sorted(_PARTICLES.split(), key=len, reverse=True))})?"
_HANGUL: Final = range(0xAC00, 0xD7A4)
# The weighting of words, `(word:1.3)`, and brackets within a word, which the pipeline takes away before it reads.
_MARKUP: Final = re.compile(r":\s*-?[0-9.]+\s*(?=[)\]])|[()\[\]{}\\]")
_BETWEEN_WORDS: Final = r"[\s_-]+"
_INVISIBLE: Final = frozenset({"Cf", "Mn", "Cc"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Says to the job's owner why there is no picture. It doesn't say by which word: that would be a guide around it."""

    message: str


class SafetyHook(Protocol):
    """Decides what is refused."""

    async def check_prompt(self, spec: RenderSpec) -> Refusal | None:
        """Looks at what is asked for, before anything is spent on it."""

    async def check_picture(self, pixels: Pixels) -> Refusal | None:
        """Looks at a finished picture, before any of its bytes are stored."""


class ImageClassifier(Protocol):
    """Looks at pictures; made by the function that the setting SAFETY names."""

    def rejects(self, pixels: Pixels) -> bool:
        """Tells whether a picture must not be delivered. Blocks, in an encoding thread; several may be looked at at once."""


class PromptBlocklist:
    """Finds whole terms in prompts, however they are written: full width, capitals, invisible letters, weights."""

    def __init__(self, terms: Iterable[str]) -> None:
        """Takes the terms, each a word or several."""
        patterns = sorted({_pattern(words) for term in terms if (words := _normal(term).split())})
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a UTF-8 file of terms, one a line; blank lines and those that begin with # are left out."""
        lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
        return cls(line for line in lines if not line.startswith("#"))

    def finds_in(self, prompt: str) -> bool:
        """Tells whether a prompt has one of the terms, as it stands or without its markup."""
        if self._pattern is None:
            return False
        return any(self._pattern.search(_normal(text)) for text in (prompt, _MARKUP.sub("", prompt)))


class SafetyPolicy:
    """Refuses by a blocklist, by a classifier, by both, or not at all."""

    def __init__(self, blocklist: PromptBlocklist | None, classifier: ImageClassifier | None, pool: Executor) -> None:
        """Takes what there is, and the pool in which pictures are looked at."""
        self._blocklist = blocklist
        self._classifier = classifier
        self._pool = pool

    async def check_prompt(self, spec: RenderSpec) -> Refusal | None:
        """Looks at the prompt. The negative prompt names what is not wanted, so that anything may stand there."""
        if self._blocklist is not None and self._blocklist.finds_in(spec.prompt):
            return Refusal(_PROMPT_MESSAGE)
        return None

    async def check_picture(self, pixels: Pixels) -> Refusal | None:
        """Has the classifier look at a picture."""
        if self._classifier is None:
            return None
        loop = asyncio.get_running_loop()
        rejected = await loop.run_in_executor(self._pool, self._classifier.rejects, pixels)
        return Refusal(_PICTURE_MESSAGE) if rejected else None


def _normal(text: str) -> str:
    """Returns text in one of its many spellings: compatible forms are one, case is folded, what can't be seen is gone."""
    composed = unicodedata.normalize("NFKC", text)
    # White space of control characters stays: it parts words.
    visible = (letter for letter in composed if letter.isspace() or unicodedata.category(letter) not in _INVISIBLE)
    return unicodedata.normalize("NFKC", "".join(visible).casefold())


def _pattern(words: list[str]) -> str:
    ending = _KOREAN_ENDING if ord(words[-1][-1]) in _HANGUL else ""
    term = _BETWEEN_WORDS.join(re.escape(word) for word in words)
    return rf"(?<!\w){term}{ending}(?!\w)"
