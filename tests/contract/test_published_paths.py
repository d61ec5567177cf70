"""Every published path: which method it reaches through the edge and through the bridge, or which part is to bring it.

A path that a later part brings is answered as unknown until then. When it is served, its test here fails, and it moves up.
"""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.errors import Reason
from tests.contract.surface import HttpRequest, public_rpcs, rpc_named
from tests.factories.messages import request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata, json_refusal
from tests.harness_service import Identities

SERVED = [
    ("POST", "/api/v1/auth/register", "AuthService.Register"),
    ("POST", "/api/v1/auth/login", "AuthService.Login"),
    ("POST", "/api/v1/auth/logout", "AuthService.Logout"),
    ("POST", "/api/v1/auth/refresh", "AuthService.Refresh"),
    ("POST", "/api/v1/auth/forgot-password", "AuthService.ForgotPassword"),
    ("POST", "/api/v1/auth/reset-password", "AuthService.ResetPassword"),
    ("POST", "/api/v1/auth/verify-email", "AuthService.VerifyEmail"),
    ("GET", "/.well-known/jwks.json", "AuthService.GetJwks"),
    ("POST", "/api/v1/users/register", "AuthService.Register"),
    ("GET", "/api/v1/users/me", "UserService.GetMe"),
    ("PATCH", "/api/v1/users/me", "UserService.UpdateMe"),
    ("GET", "/api/v1/users/me/subscription", "SubscriptionService.GetCurrentSubscription"),
    ("GET", "/api/v1/users/me/credits", "CreditService.GetBalance"),
    ("GET", "/api/v1/users/me/usage", "UsageService.GetMyUsage"),
    ("GET", "/api/v1/users/me/api-keys", "ApiKeyService.ListApiKeys"),
    ("POST", "/api/v1/users/me/api-keys", "ApiKeyService.CreateApiKey"),
    ("DELETE", "/api/v1/users/me/api-keys/{id}", "ApiKeyService.DeleteApiKey"),
    ("GET", "/api/v1/users/me/sessions", "UserService.ListSessions"),
    ("DELETE", "/api/v1/users/me/sessions", "UserService.RevokeSessions"),
    ("POST", "/api/v1/generate/text-to-image", "GenerationService.CreateJob"),
    ("POST", "/api/v1/generate/image-to-image", "GenerationService.CreateJob"),
    ("POST", "/api/v1/generate/upscale", "GenerationService.CreateJob"),
    ("POST", "/api/v1/generate/inpaint", "GenerationService.CreateJob"),
    ("POST", "/api/v1/generation/create", "GenerationService.CreateJob"),
    ("POST", "/api/v1/generate/quote", "GenerationService.QuoteJob"),
    ("GET", "/api/v1/queue/status", "GenerationService.GetQueueStatus"),
    ("GET", "/api/v1/queue/items", "GenerationService.ListJobs"),
    ("DELETE", "/api/v1/queue/items/{job_id}", "GenerationService.CancelJob"),
    ("POST", "/api/v1/queue/clear", "GenerationService.ClearQueue"),
    ("GET", "/api/v1/jobs/{job_id}", "GenerationService.GetJob"),
    ("GET", "/api/v1/jobs/{job_id}/events", "GenerationService.WatchJob"),
    ("GET", "/api/v1/jobs/events", "GenerationService.WatchJobs"),
    ("GET", "/api/v1/models", "ModelService.ListModels"),
    ("GET", "/api/v1/models/{model_id}", "ModelService.GetModel"),
    ("GET", "/api/v1/subscriptions/plans", "SubscriptionService.ListPlans"),
    ("GET", "/api/v1/subscriptions/current", "SubscriptionService.GetCurrentSubscription"),
    ("POST", "/api/v1/subscriptions/checkout", "SubscriptionService.CreateCheckout"),
    ("POST", "/api/v1/subscriptions/cancel", "SubscriptionService.CancelSubscription"),
    ("POST", "/api/v1/models/loras", "LoraService.CreateLora"),
    ("DELETE", "/api/v1/models/{model_id}", "LoraService.DeleteLora"),
    ("POST", "/api/v1/subscriptions/resume", "SubscriptionService.ResumeSubscription"),
    ("POST", "/api/v1/subscriptions/upgrade", "SubscriptionService.ChangePlan"),
    ("POST", "/api/v1/subscriptions/downgrade", "SubscriptionService.ChangePlan"),
    ("POST", "/api/v1/payments/checkout", "SubscriptionService.CreateCheckout"),
    ("PUT", "/api/v1/payment/upgrade", "SubscriptionService.ChangePlan"),
    ("POST", "/api/v1/payment/subscribe", "SubscriptionService.CreateCheckout"),
    ("GET", "/api/v1/credits/balance", "CreditService.GetBalance"),
    ("GET", "/api/v1/credits/history", "CreditService.ListTransactions"),
    ("POST", "/api/v1/credits/purchase", "SubscriptionService.CreateCheckout"),
    ("GET", "/api/v1/images", "GalleryService.ListImages"),
    ("GET", "/api/v1/images/{image_id}", "GalleryService.GetImage"),
    ("PATCH", "/api/v1/images/{image_id}", "GalleryService.UpdateImage"),
    ("DELETE", "/api/v1/images/{image_id}", "GalleryService.DeleteImage"),
    ("POST", "/api/v1/images/{image_id}/star", "GalleryService.StarImage"),
    ("DELETE", "/api/v1/images/{image_id}/star", "GalleryService.UnstarImage"),
    ("POST", "/api/v1/images/{image_id}/share", "SharingService.CreateShareLink"),
    ("POST", "/api/v1/images:batchDelete", "GalleryService.BatchDeleteImages"),
    ("POST", "/api/v1/images:batchMove", "BoardService.BatchMoveImages"),
    ("POST", "/api/v1/images:batchStar", "GalleryService.BatchStarImages"),
    ("GET", "/api/v1/gallery/images", "GalleryService.ListImages"),
    ("GET", "/api/v1/boards", "BoardService.ListBoards"),
    ("POST", "/api/v1/boards", "BoardService.CreateBoard"),
    ("GET", "/api/v1/boards/{board_id}", "BoardService.GetBoard"),
    ("PATCH", "/api/v1/boards/{board_id}", "BoardService.UpdateBoard"),
    ("DELETE", "/api/v1/boards/{board_id}", "BoardService.DeleteBoard"),
    ("POST", "/api/v1/boards/{board_id}/images", "BoardService.AddBoardImages"),
    ("DELETE", "/api/v1/boards/{board_id}/images/{image_id}", "BoardService.RemoveBoardImage"),
    ("POST", "/api/v1/gallery/boards", "BoardService.CreateBoard"),
    ("GET", "/api/v1/shared/{share_token}", "SharingService.GetSharedImage"),
    ("DELETE", "/api/v1/images/{image_id}/share", "SharingService.RevokeShareLinks"),
    ("DELETE", "/api/v1/users/me", "DeletionService.DeleteMe"),
    ("GET", "/api/v1/users/me/export", "AccountExportService.GetMyExport"),
    ("POST", "/api/v1/images:export", "ExportService.CreateImageExport"),
    ("GET", "/api/v1/dashboard/stats", "UsageService.GetMyUsage"),
    ("GET", "/api/v1/dashboard/recent", "GenerationService.ListJobs"),
    ("GET", "/api/v1/storage/usage", "LibraryService.GetStorageUsage"),
    ("GET", "/api/v1/storage/quota", "LibraryService.GetStorageUsage"),
    ("POST", "/api/v1/enterprise/request", "EnterpriseService.RequestEnterprise"),
    ("POST", "/api/v1/enterprise/activate", "EnterpriseService.ActivateEnterprise"),
]
# Browsers on their way to a provider, reports of providers, and bytes of pictures: no method has them (edge_http/sign_in.py,
# webhooks.py, picture_bytes.py).
OF_THE_BRIDGE = [
    ("GET", "/api/v1/auth/google"),
    ("GET", "/api/v1/auth/google/callback"),
    ("GET", "/api/v1/auth/discord"),
    ("GET", "/api/v1/auth/discord/callback"),
    ("POST", "/api/v1/webhooks/lemon-squeezy"),
    ("POST", "/api/v1/payments/webhook"),
    ("GET", "/api/v1/images/{image_id}/content"),
    ("GET", "/api/v1/images/{image_id}/thumbnail"),
    ("POST", "/api/v1/images:upload"),
    ("GET", "/api/v1/shared/{share_token}/content"),
]
LATER = {
    ("POST", "/api/v1/generate/workflow"): "workflows",
    ("POST", "/api/v1/jobs/{job_id}:retry"): "workflows: repeating a job",
    ("POST", "/api/v1/models/{model_id}:install"): "administration of models",
}


@pytest.fixture
def caller(identities: Identities) -> Metadata:
    return identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)


@pytest_asyncio.fixture(scope="session")
async def bridge(bridge_port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{bridge_port}", timeout=20.0) as client:
        yield client


def plain(template: str) -> str:
    """Returns a template without the names of its variables, which are nobody's concern."""
    return re.sub(r"\{\w+\}", "{}", template)


@pytest.mark.parametrize(("verb", "path", "name"), SERVED)
async def test_published_path_reaches_its_method_both_ways(
    verb: str, path: str, name: str, edge: Edge, bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    rpc = rpc_named(name)
    form = next(form for form in rpc.http_forms if (form.verb, plain(form.template)) == (verb, plain(path)))
    request = form.request(request_for(name, form.body))
    for client in (edge.http, bridge):
        # As long as its head: a stream goes on.
        async with client.stream(
            request.verb, request.path, params=request.query, content=request.content, headers=dict(caller)
        ) as answer:
            assert answer.status_code == 200
    assert {call.rpc for call in platform.calls} == {name}
    assert len(platform.calls) == 2


@pytest.mark.parametrize(("verb", "path"), LATER)
async def test_path_of_a_later_part_is_refused_as_unknown_both_ways(
    verb: str, path: str, edge: Edge, bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    request = HttpRequest(verb, re.sub(r"\{\w+\}", str(new_id()), path), {}, b"" if verb == "GET" else b"{}")
    theirs, refusal = await edge.refusal_by_http(request, caller)
    answer = await bridge.request(verb, request.path, content=request.content, headers=dict(caller))
    ours, same = json_refusal(answer)
    assert refusal.reason is same.reason is Reason.METHOD_NOT_FOUND
    assert ours == theirs
    assert ours in (404, 405)
    assert platform.calls == []


def test_no_method_has_a_path_of_the_bridge_s_own() -> None:
    forms = {(form.verb, form.template) for rpc in public_rpcs() for form in rpc.http_forms}
    assert forms.isdisjoint(OF_THE_BRIDGE)
    assert forms.isdisjoint(LATER)
