"""Which method a verb and a path mean, by the HTTP rules of the contracts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

from edge_http.documents import malformed
from svc_common.contracts import HttpBinding, PublicMethod, public_methods


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP form of a method, with the classes of its messages."""

    method: PublicMethod
    binding: HttpBinding
    pattern: re.Pattern[str]
    request_class: type[Message]
    response_class: type[Message]


@dataclass(frozen=True, slots=True)
class Match:
    """A route, and what the path says of its variables."""

    route: Route
    variables: dict[str, str]


class Router:
    """All routes; a path that several templates fit belongs to the one with fewest variables."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Takes the routes."""
        self.routes = tuple(sorted(routes, key=lambda route: len(route.binding.variables)))

    def named(self, name: str) -> Route:
        """Returns a route of the method `Service.Method`; raises LookupError when the contract has none."""
        for route in self.routes:
            if f"{route.method.service}.{route.method.name}".endswith(f".{name}"):
                return route
        raise LookupError(f"the contract has no public method {name}")

    def find(self, verb: str, raw_path: str) -> Match | tuple[str, ...]:
        """Returns the match for a path as it was sent, still escaped, or else the verbs under which the path is known.

        Raises:
            ServiceError: REQUEST_MALFORMED, for an escaped byte that is no UTF-8 or no character of a name.
        """
        verbs = []
        for route in self.routes:
            found = route.pattern.fullmatch(raw_path)
            if found is None:
                continue
            if route.binding.verb == verb:
                names = route.binding.variables
                values = map(_segment, found.groups())
                return Match(route, dict(zip(names, values, strict=True)))
            verbs.append(route.binding.verb)
        return tuple(dict.fromkeys(verbs))


def router_of(descriptor_set: bytes) -> Router:
    """Returns the routes of every public method of a serialised FileDescriptorSet."""
    pool = descriptor_pool.DescriptorPool()
    for file in FileDescriptorSet.FromString(descriptor_set).file:
        pool.Add(file)
    routes = []
    for method in public_methods(descriptor_set):
        descriptor = pool.FindMethodByName(f"{method.service}.{method.name}")
        request_class = message_factory.GetMessageClass(descriptor.input_type)
        response_class = message_factory.GetMessageClass(descriptor.output_type)
        for binding in method.bindings:
            pattern = re.compile(binding.pattern.replace("[^/]+", "([^/]+)"))
            routes.append(Route(method, binding, pattern, request_class, response_class))
    return Router(routes)


def _segment(escaped: str) -> str:
    try:
        text = unquote_to_bytes(escaped).decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed("The path holds bytes that aren't UTF-8.") from error
    if not text.isprintable():
        raise malformed("The path holds a control character.")
    return text
