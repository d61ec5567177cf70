"""Which answers the edge compresses, and how: documents and the page's files, for clients that ask for it.

Compression makes an answer's size depend on its content. Where a secret stands beside text that an attacker chooses, the sizes
of many answers tell the secret (BREACH). So nothing is compressed but what is named here: answers to methods that only
read and whose answers have no field of a secret, and files that everybody gets alike. The types
are Envoy's own list, texts and scripts and JSON: no streams, pictures or archives, and neither gRPC nor gRPC-web, which have
a compression of their own.

Envoy's compressors keep the settings of the route that a request is on when it arrives; those of the gRPC route that the
transcoder leads to come too late. The HTTP forms of those methods therefore have routes of their own.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from edge_envoy.request_check import Messages, messages_of
from svc_common.contracts import PublicMethod

LEAST_BYTES: Final = 1024
"""What is shorter goes in one packet anyway."""
SECRET_FIELDS: Final = frozenset(
    {
        *("access_token", "refresh_token", "browser_secret", "challenge", "codes", "key", "secret", "otpauth_url"),
        # Addresses that are a credential themselves. Those of pictures are signed anew in each answer: no two are the same.
        *("authorization_url", "loopback_url", "put_url", "share_token", "url"),
    }
)
"""Names of fields that hold a secret, of whatever message."""
_PICTURES_URL: Final = "pingvas.generation.v1.JobImage.url"
PAGE_PATHS: Final = frozenset({"/", "/favicon.svg", "/assets/", "/docs", "/openapi.json", "/status.json"})
"""Addresses of the bridge's whose answers are the same for everybody."""

_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions"
_OF_ROUTE: Final = f"{_EXTENSIONS}.filters.http.compressor.v3.CompressorPerRoute"


@dataclass(frozen=True, slots=True)
class Compressor:
    """One of Envoy's compressors. The last one that is preferred wins where a client likes several alike."""

    name: str
    library: str
    type_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    preferred: bool = False

    @property
    def type(self) -> str:
        """The name of the library's message."""
        return f"{_EXTENSIONS}.compression.{self.type_name}"


COMPRESSORS: Final = (
    # Level 6 and a window of 32 KiB: zlib's usual ones. Envoy's own are level 1 and 4 KiB.
    Compressor(
        "compress_gzip",
        "gzip",
        "gzip.compressor.v3.Gzip",
        {"compression_level": "COMPRESSION_LEVEL_6", "window_bits": 15, "memory_level": 8},
    ),
    # Quality 11 is for files that are compressed once; 4 costs what gzip costs and is smaller.
    Compressor("compress_br", "brotli", "brotli.compressor.v3.Brotli", {"quality": 4}, preferred=True),
    Compressor("compress_zstd", "zstd", "zstd.compressor.v3.Zstd", {"compression_level": 3}, preferred=True),
)
"""In this order, the first that a client prefers and Envoy's build has."""


def per_route(*, compresses: bool) -> dict[str, Any]:
    """Returns what a route, or all of them, says of each compressor."""
    says: dict[str, Any] = {"overrides": {"response_direction_config": {}}} if compresses else {"disabled": True}
    return {each.name: {"@type": _OF_ROUTE, **says} for each in COMPRESSORS}


def compressed_matches(methods: Iterable[PublicMethod], descriptor_set: bytes) -> Iterator[dict[str, Any]]:
    """Yields Envoy's route matches for the HTTP forms of the methods whose answers are compressed."""
    verb = {"name": ":method", "string_match": {"exact": "GET"}}
    for method in compressed_methods(methods, descriptor_set):
        for binding in method.bindings:
            match = {"safe_regex": {"regex": binding.pattern}} if binding.variables else {"path": binding.template}
            yield {**match, "headers": [verb]}


def compressed_methods(methods: Iterable[PublicMethod], descriptor_set: bytes) -> list[PublicMethod]:
    """Returns the methods whose answers are compressed."""
    messages = messages_of(descriptor_set)
    return [
        method
        for method in methods
        if method.reads_only and not method.streams and not any(_secrets(method.response, messages, frozenset()))
    ]


def _secrets(message: str, messages: Messages, above: frozenset[str]) -> Iterator[str]:
    """Yields the fields of a message, and of those in it, that hold a secret."""
    if message in above or messages[message].options.map_entry:
        # A map's `key` is a name.
        return
    for each in messages[message].field:
        if each.type == FieldDescriptorProto.TYPE_MESSAGE:
            yield from _secrets(each.type_name.removeprefix("."), messages, above | {message})
        elif each.name in SECRET_FIELDS and f"{message}.{each.name}" != _PICTURES_URL:
            yield f"{message}.{each.name}"
