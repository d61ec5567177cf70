"""Routes of the bridge's own, which no method of the contract has, declared where they are answered.

One declaration is both the route of the application and the operation of the OpenAPI document, so that neither can be
forgotten. What the docstring of the handler says is what the document says.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

from fastapi import Request, Response

from svc_common.errors import Reason

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
_Handler = TypeVar("_Handler", bound=Callable[..., Awaitable[Response]])

_DECLARED: Final = "own_route"


@dataclass(frozen=True, slots=True)
class OwnRoute:
    """What is served under some verbs and paths, and how the document tells of it."""

    verbs: tuple[str, ...]
    paths: tuple[str, ...]
    method: str = ""
    """The method `Service.Method` of the contract that the handler calls; who may call, and what is refused, are its."""
    tag: str = ""
    """The heading of the operation where there is no such method."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Name of each parameter -> what it is."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Name of each header of the request -> what it is."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """Media type of each form of the body -> its schema."""
    answers: Mapping[int, str] = field(default_factory=dict)
    """Each status of an answer that is no refusal -> what it means."""
    media_types: tuple[str, ...] = ()
    """The types of the bytes in successful answers; none: the method's own message, as JSON."""
    schema: Mapping[str, Any] | None = None
    """The schema of an answer in JSON where it isn't the method's."""
    reasons: tuple[Reason, ...] = ()
    """Refusals that the method's contract doesn't tell of."""


def own_route(route: OwnRoute) -> Callable[[_Handler], _Handler]:
    """Declares that a method of a class answers a route."""

    def declare(handler: _Handler) -> _Handler:
        handler.__dict__[_DECLARED] = route
        return handler

    return declare


def declared_by(owner: type) -> Iterator[tuple[OwnRoute, Callable[..., Any]]]:
    """Yields each route that a class declares, with its handler, in the order of declaration."""
    for handler in vars(owner).values():
        if (route := getattr(handler, "__dict__", {}).get(_DECLARED)) is not None:
            yield route, handler


def routes_of(owner: object) -> Iterator[tuple[str, str, Answer]]:
    """Yields verb, path and answer of everything that an object's class declares."""
    for route, handler in declared_by(type(owner)):
        for path in route.paths:
            for verb in route.verbs:
                yield verb, path, getattr(owner, handler.__name__)
