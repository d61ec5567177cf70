"""SubscriptionService: shows what is sold, opens checkouts, and changes what was bought. Money moves at the provider only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pingvas.payment.v1 import subscription_pb2, subscription_service_pb2, subscription_service_pb2_grpc

from svc_common.caller import current_account
from svc_common.db import Database
from svc_common.idempotency import idempotency_key
from svc_common.paging import PageTokens, page_size
from svc_payment.domain.billing import ItemKind
from svc_payment.messages import subscriptions as messages
from svc_payment.store import billing as store
from svc_payment.store.billing import Entitlement
from svc_payment.usecases.subscribing import Shop, Subscribing

ItemT = TypeVar("ItemT")

_ITEM_KINDS: Mapping[str, ItemKind] = {"plan_id": ItemKind.PLAN, "pack_id": ItemKind.PACK}


class SubscriptionServicer(subscription_service_pb2_grpc.SubscriptionServiceServicer):
    """Serves pingvas.payment.v1.SubscriptionService."""

    def __init__(self, *, database: Database, page_tokens: PageTokens, subscribing: Subscribing, shop: Shop) -> None:
        self._database = database
        self._page_tokens = page_tokens
        self._subscribing = subscribing
        self._shop = shop

    async def ListPlans(
        self, request: subscription_service_pb2.ListPlansRequest, _context: object
    ) -> subscription_service_pb2.ListPlansResponse:
        """Lists the plans, the smallest first."""
        async with self._database.transaction() as session:
            plans = (await store.catalogue(session)).plans
            limits = await store.all_limits(session)
        found = [
            messages.plan_message(plan, limits[plan.tier], is_sold=plan.is_for_sale and self._shop.sells(plan.plan_id))
            for plan in plans.values()
        ]
        page, token = self._page(found, request, "plans", lambda plan: plan.plan_id)
        return subscription_service_pb2.ListPlansResponse(plans=page, next_page_token=token)

    async def ListPacks(
        self, request: subscription_service_pb2.ListPacksRequest, _context: object
    ) -> subscription_service_pb2.ListPacksResponse:
        """Lists the packs, the smallest first."""
        async with self._database.transaction() as session:
            packs = (await store.catalogue(session)).packs
        found = [messages.pack_message(pack, is_sold=self._shop.sells(pack.pack_id)) for pack in packs.values()]
        page, token = self._page(found, request, "packs", lambda pack: pack.pack_id)
        return subscription_service_pb2.ListPacksResponse(packs=page, next_page_token=token)

    async def CreateCheckout(
        self, request: subscription_service_pb2.CreateCheckoutRequest, _context: object
    ) -> subscription_pb2.Checkout:
        """Opens a page to pay on."""
        item = request.WhichOneof("item") or ""
        checkout = await self._subscribing.create_checkout(
            current_account(),
            _ITEM_KINDS[item],
            getattr(request, item),
            request_id=idempotency_key(request.request_id),
        )
        return messages.checkout_message(checkout)

    async def GetCurrentSubscription(
        self, _request: subscription_service_pb2.GetCurrentSubscriptionRequest, _context: object
    ) -> subscription_pb2.Subscription:
        """Returns what the caller subscribes to."""
        return self._message(await self._subscribing.current(current_account()))

    async def CancelSubscription(
        self, _request: subscription_service_pb2.CancelSubscriptionRequest, _context: object
    ) -> subscription_pb2.Subscription:
        """Ends the renewal."""
        return self._message(await self._subscribing.cancel(current_account()))

    async def PauseSubscription(
        self, _request: subscription_service_pb2.PauseSubscriptionRequest, _context: object
    ) -> subscription_pb2.Subscription:
        """Stops charging and serving for a while."""
        return self._message(await self._subscribing.pause(current_account()))

    async def ResumeSubscription(
        self, _request: subscription_service_pb2.ResumeSubscriptionRequest, _context: object
    ) -> subscription_pb2.Subscription:
        """Takes a cancellation back, or ends a pause."""
        return self._message(await self._subscribing.resume(current_account()))

    async def ChangePlan(
        self, request: subscription_service_pb2.ChangePlanRequest, _context: object
    ) -> subscription_pb2.Subscription:
        """Moves to another plan."""
        return self._message(await self._subscribing.change_plan(current_account(), request.plan_id))

    async def ListInvoices(
        self, request: subscription_service_pb2.ListInvoicesRequest, _context: object
    ) -> subscription_service_pb2.ListInvoicesResponse:
        """Lists what the caller has paid, newest first."""
        account_id, size = current_account(), page_size(request.page_size)
        scope = f"invoices:{account_id}"
        before = (
            messages.invoice_key(self._page_tokens.decode(request.page_token, scope)) if request.page_token else None
        )
        async with self._database.transaction(account_id) as session:
            found = await store.invoices(session, account_id, before=before, limit=size + 1)
        page, token = self._page_tokens.cut(
            found, size, scope, lambda row: (row.issue_time.isoformat(), f"{row.provider}:{row.invoice_id}")
        )
        return subscription_service_pb2.ListInvoicesResponse(
            invoices=map(messages.invoice_message, page), next_page_token=token
        )

    async def GetPortal(
        self, _request: subscription_service_pb2.GetPortalRequest, _context: object
    ) -> subscription_service_pb2.Portal:
        """Returns the address of the provider's portal."""
        return subscription_service_pb2.Portal(url=await self._subscribing.portal_url(current_account()))

    async def SyncSubscription(
        self, _request: subscription_service_pb2.SyncSubscriptionRequest, _context: object
    ) -> subscription_pb2.Subscription:
        """Asks the provider how the caller's payments stand."""
        return self._message(await self._subscribing.sync(current_account()))

    def _message(self, held: Entitlement) -> subscription_pb2.Subscription:
        return messages.subscription_message(held, can_pause=self._subscribing.can_pause(held))

    def _page(
        self, found: Sequence[ItemT], request: Any, scope: str, key: Callable[[ItemT], str]
    ) -> tuple[Sequence[ItemT], str]:
        """Returns a page of a list that is short enough to be read whole; its token names the last item."""
        size, start = page_size(request.page_size), 0
        if request.page_token:
            (last,) = self._page_tokens.decode(request.page_token, scope)
            start = [key(each) for each in found].index(last) + 1
        return self._page_tokens.cut(found[start : start + size + 1], size, scope, lambda each: [key(each)])
