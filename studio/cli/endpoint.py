"""How a deployment's address is read: `https://HOST[:PORT]`, `http://HOST:PORT`, or `HOST:PORT`."""

from urllib.parse import urlsplit

import grpc

from studio.cli.failures import CommandError, ExitCode

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_DEFAULT_PORTS = {"https": 443, "http": 80}
# A little more than a picture's preview needs; media never travels this way.
_OPTIONS = (("grpc.max_receive_message_length", 4 * 1024 * 1024),)


def split_endpoint(endpoint: str) -> tuple[str, bool]:
    """Returns `host:port` of an address and whether to use TLS.

    Without a scheme, TLS is used everywhere but on the loopback address: a password must not cross a network in the
    clear because a scheme was forgotten.
    """
    has_scheme = "://" in endpoint
    parts = urlsplit(endpoint if has_scheme else f"//{endpoint}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or (has_scheme and parts.scheme not in _DEFAULT_PORTS):
        raise CommandError(
            f"{endpoint!r} is not an address of a deployment",
            advice="Write it as https://HOST, http://HOST:PORT or HOST:PORT.",
            exit_code=ExitCode.USAGE,
        )
    secure = parts.scheme == "https" if has_scheme else host not in _LOOPBACK
    bracketed = f"[{host}]" if ":" in host else host
    return f"{bracketed}:{port or _DEFAULT_PORTS['https' if secure else 'http']}", secure


def open_channel(endpoint: str) -> grpc.Channel:
    """Returns a channel to a deployment; it connects when it is first used."""
    target, secure = split_endpoint(endpoint)
    if secure:
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(), options=_OPTIONS)
    return grpc.insecure_channel(target, options=_OPTIONS)
