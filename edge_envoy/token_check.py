"""The edge's check of access tokens: a filter of Envoy's in a file of its own, which Envoy reads again when it is replaced.

That is how the edge takes up keys without a restart: Envoy reads a JWK set in a file just once, at its start. Which requests
need no token is the configuration's to say. A key that was given up stays here until the next rotation: the services say
that its tokens have expired, upon which clients get new ones, where the edge could say only that it doesn't know the key.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

TOKEN_CHECK: Final = "token_check"  # noqa: S105 - the name of a filter
TOKEN_CHECK_TYPE: Final = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"  # noqa: S105 - a type
_PROVIDER: Final = "user"
_NEEDS_TOKEN: Final = {"requires": {"provider_name": _PROVIDER}}


def token_check_text(
    *,
    issuer: str,
    audience: str,
    jwks: Mapping[str, Any],
    anonymous: Iterable[Mapping[str, Any]],
    api_prefixes: Iterable[str],
    pages: Mapping[str, Any] | None,
) -> str:
    """Returns Envoy's resource, in JSON. `anonymous` and `pages` are route matches of what passes without a token."""
    provider = {
        "issuer": issuer,
        "audiences": [audience],
        "local_jwks": {"inline_string": _keys_text(jwks)},
        "require_expiration": True,
        # As much as the services tolerate.
        "clock_skew_seconds": 5,
        # The services verify it again: the edge is a shield, not an authority.
        "forward": True,
        # One place for tokens. The default takes them from the query string as well, which ends up in logs.
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
    }
    rules: list[Mapping[str, Any]] = [{"match": match} for match in anonymous]
    if pages is not None:
        rules += [{"match": {"prefix": prefix}, **_NEEDS_TOKEN} for prefix in api_prefixes]
        # Any other address that a browser would show belongs to the studio's page.
        rules.append({"match": pages})
    # Everything else, known or not.
    rules.append({"match": {"prefix": "/"}, **_NEEDS_TOKEN})
    check = {
        "@type": TOKEN_CHECK_TYPE,
        "bypass_cors_preflight": True,
        "providers": {_PROVIDER: provider},
        "rules": rules,
    }
    kind = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
    return _text({"resources": [{"@type": kind, "name": TOKEN_CHECK, "typed_config": check}]})


def publish_keys(token_check: Path, user_jwks: Path) -> bool:
    """Puts the keys of a JWK set into the edge's check where they differ, and tells whether they did.

    Whatever else the check says stays as it is. Raises OSError when one of the files isn't there, ValueError when one of them
    is no JSON.
    """
    document = json.loads(token_check.read_bytes())
    keys = document["resources"][0]["typed_config"]["providers"][_PROVIDER]["local_jwks"]
    text = _keys_text(json.loads(user_jwks.read_bytes()))
    if keys["inline_string"] == text:
        return False
    keys["inline_string"] = text
    replace_text(token_check, _text(document))
    return True


def replace_text(file: Path, text: str) -> None:
    """Writes a file that appears whole or not at all; Envoy heeds files that are moved to their place only."""
    draft = file.with_name(f".{file.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


def _keys_text(jwks: Mapping[str, Any]) -> str:
    return json.dumps(jwks)


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"
