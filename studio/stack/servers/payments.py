"""The payment provider of a stack: the stand-in, which takes no money, and what svc_payment must know of it."""

import json
import sys
import tomllib
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from studio.payments.book import Product
from studio.stack.keys import Secrets
from studio.stack.layout import HOST, Layout
from studio.stack.probes import http_probe
from studio.stack.process import Listener, Process

NAME = "payments"
_PROVIDER = "lemon-squeezy"
_STORE = "1"
_FIRST_PLAN, _FIRST_PACK = 101, 201


@dataclass(frozen=True, slots=True)
class Payments:
    """The stand-in of one stack."""

    layout: Layout
    secrets: Secrets

    def node(self) -> Process:
        """Returns the stand-in's process. It needs nobody: reports that aren't taken are sent again."""
        ports = self.layout.ports
        products = [asdict(product) for product in _products().values()]
        return Process(
            name=NAME,
            command=(sys.executable, "-m", "studio.payments.main"),
            probe=http_probe(ports.payments, "/control/healthz"),
            address=f"{HOST}:{ports.payments}",
            log=self.layout.log(NAME),
            environment={
                "PORT": str(ports.payments),
                "WEBHOOK_URL": f"{self.layout.origin}/api/v1/webhooks/{_PROVIDER}",
                "KEY_FILE": str(self.secrets.provider_key),
                "SECRET_FILE": str(self.secrets.provider_secret),
                "BOOK_FILE": str(self.layout.payments),
                "PRODUCTS": json.dumps(products),
                "PYTHONUNBUFFERED": "1",
                # Its reports go through the edge.
                **({"SSL_CERT_FILE": str(self.layout.authority)} if self.layout.tls else {}),
            },
            listeners=(Listener(ports.payments, "the payment provider's stand-in"),),
        )


def payment_settings(layout: Layout, secrets: Secrets) -> dict[str, str]:
    """Returns the settings with which svc_payment sells through the stand-in."""
    return {
        "PAYMENT_PROVIDER": _PROVIDER,
        "CHECKOUT_RETURN_URL": f"{layout.origin}/billing?paid=true",
        "LEMON_SQUEEZY_API_URL": f"http://{HOST}:{layout.ports.payments}",
        "LEMON_SQUEEZY_KEY_FILE": str(secrets.provider_key),
        "LEMON_SQUEEZY_SECRETS_FILE": str(secrets.provider_secret),
        "LEMON_SQUEEZY_STORE_ID": _STORE,
        "LEMON_SQUEEZY_VARIANTS": json.dumps({item: str(product.number) for item, product in _products().items()}),
        "LEMON_SQUEEZY_TEST_MODE": "true",
    }


def _products() -> dict[str, Product]:
    """Returns what the stand-in sells, by our ids: every plan and pack that has a price."""
    sold: dict[str, Any] = tomllib.loads(files("svc_payment").joinpath("plans.toml").read_text(encoding="utf-8"))
    plans = {
        plan_id: Product(number, f"Pingvas Studio {plan_id}", plan["price_cents"], is_recurring=True)
        for number, (plan_id, plan) in enumerate(sold["plans"].items(), start=_FIRST_PLAN)
        if plan.get("price_cents")
    }
    packs = {
        pack_id: Product(number, f"{pack['credits']:,} credits", pack["price_cents"], is_recurring=False)
        for number, (pack_id, pack) in enumerate(sold["packs"].items(), start=_FIRST_PACK)
    }
    return plans | packs
