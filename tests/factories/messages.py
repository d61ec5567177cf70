"""Makes messages: a valid request for each public method, and answers in which every field holds something."""

from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from pingvas.common.v1 import role_pb2, scope_pb2, tier_pb2
from pingvas.gallery.v1 import (
    board_service_pb2,
    export_service_pb2,
    gallery_service_pb2,
    library_service_pb2,
    lineage_service_pb2,
    sharing_service_pb2,
    template_pb2,
    template_service_pb2,
)
from pingvas.generation.v1 import (
    generation_admin_service_pb2,
    generation_service_pb2,
    job_pb2,
    operator_service_pb2,
    recipe_service_pb2,
    usage_service_pb2,
    webhook_endpoint_service_pb2,
    webhook_pb2,
)
from pingvas.models.v1 import lora_service_pb2, model_service_pb2
from pingvas.payment.v1 import (
    credit_service_pb2,
    enterprise_service_pb2,
    ledger_service_pb2,
    subscription_service_pb2,
)
from pingvas.user.v1 import (
    account_admin_service_pb2,
    account_export_service_pb2,
    api_key_pb2,
    api_key_service_pb2,
    audit_event_pb2,
    audit_service_pb2,
    auth_service_pb2,
    deletion_service_pb2,
    email_service_pb2,
    identity_pb2,
    identity_service_pb2,
    second_factor_service_pb2,
    user_service_pb2,
)

JOB_ID = "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11"
LORA_ID = "own-01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a14"
IMAGE_ID = "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a12"
BOARD_ID = "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a13"

_TEXT_TO_IMAGE = job_pb2.TextToImage(
    prompt="a fishing boat, „blue“ & white 🚤",
    negative_prompt="100 % fog",
    width_px=512,
    height_px=384,
    step_count=20,
    guidance_scale=0.0,
    seed=9007199254740991,
    image_count=2,
)

_SOURCE = job_pb2.ImageSource(upload_id=IMAGE_ID)
_MASK = job_pb2.ImageSource(image_id=IMAGE_ID)
_LORA = job_pb2.LoraWeight(model_id="ink-lines", weight=-0.5)

_TEMPLATE = template_pb2.TemplateContent(
    kind=template_pb2.TEMPLATE_KIND_PROMPT,
    name="바다",
    prompt="{{what}} by the sea",
    variables=[
        template_pb2.TemplateVariable(name="what", choices=[template_pb2.TemplateChoice(value="a boat", label="배")])
    ],
    size_preset="story",
)

_OPERATIONS: dict[str, Message] = {
    "text_to_image": _TEXT_TO_IMAGE,
    "image_to_image": job_pb2.ImageToImage(prompt="a heron", source=_SOURCE, strength=0.25, loras=[_LORA], seed=0),
    "inpaint": job_pb2.Inpaint(prompt="a heron", source=_SOURCE, mask=_MASK, mask_feather_px=0),
    "upscale": job_pb2.Upscale(source=_MASK, scale_factor=4),
}

TRANSACTION_FILTER = credit_service_pb2.TransactionFilter(
    kinds=[credit_service_pb2.TRANSACTION_KIND_SETTLE, credit_service_pb2.TRANSACTION_KIND_RELEASE],
    job_id=JOB_ID,
    start_time=Timestamp(seconds=1_793_491_200),
    end_time=Timestamp(seconds=1_793_577_600, nanos=500_000_000),
)

_REQUESTS: dict[str, Message] = {
    "AuthService.Register": auth_service_pb2.RegisterRequest(email="ada@example.com", password="correct horse"),
    "AuthService.Login": auth_service_pb2.LoginRequest(email="ada@example.com", password="correct horse"),
    "AuthService.VerifySecondFactor": auth_service_pb2.VerifySecondFactorRequest(challenge="c" * 64, code="123456"),
    "AuthService.Refresh": auth_service_pb2.RefreshRequest(refresh_token="once"),
    "AuthService.Logout": auth_service_pb2.LogoutRequest(refresh_token="once"),
    "AuthService.VerifyEmail": auth_service_pb2.VerifyEmailRequest(token="mailed"),
    "AuthService.ResendVerification": auth_service_pb2.ResendVerificationRequest(email="ada@example.com"),
    "AuthService.ForgotPassword": auth_service_pb2.ForgotPasswordRequest(email="ada@example.com"),
    "AuthService.ResetPassword": auth_service_pb2.ResetPasswordRequest(token="mailed", new_password="correct horse"),
    "AuthService.ChangePassword": auth_service_pb2.ChangePasswordRequest(
        current_password="correct horse", new_password="correct battery"
    ),
    "AuthService.GetJwks": auth_service_pb2.GetJwksRequest(),
    "AccountExportService.ExportMe": account_export_service_pb2.ExportMeRequest(),
    "AccountExportService.GetMyExport": account_export_service_pb2.GetMyExportRequest(),
    "DeletionService.DeleteMe": deletion_service_pb2.DeleteMeRequest(),
    "DeletionService.GetDeletion": deletion_service_pb2.GetDeletionRequest(),
    "DeletionService.CancelDeletion": deletion_service_pb2.CancelDeletionRequest(),
    "EmailService.ChangeEmail": email_service_pb2.ChangeEmailRequest(
        new_email="new@example.com", current_password="correct horse"
    ),
    "EmailService.ConfirmEmailChange": email_service_pb2.ConfirmEmailChangeRequest(token="pvlt_token"),
    "EmailService.UndoEmailChange": email_service_pb2.UndoEmailChangeRequest(token="pvlt_token"),
    "IdentityService.GetProviders": identity_service_pb2.GetProvidersRequest(),
    "IdentityService.BeginSignIn": identity_service_pb2.BeginSignInRequest(
        provider=identity_pb2.PROVIDER_GOOGLE,
        loopback=identity_service_pb2.Loopback(port=49152, code_challenge="c" * 43, state="s" * 32),
    ),
    "IdentityService.CompleteSignIn": identity_service_pb2.CompleteSignInRequest(
        provider=identity_pb2.PROVIDER_DISCORD, state="s" * 43, code="4/0A_x-y", browser_secret="b" * 43
    ),
    "IdentityService.ExchangeSignInCode": identity_service_pb2.ExchangeSignInCodeRequest(
        code="once", code_verifier="v" * 43
    ),
    "IdentityService.LinkIdentity": identity_service_pb2.LinkIdentityRequest(provider=identity_pb2.PROVIDER_DISCORD),
    "IdentityService.ListIdentities": identity_service_pb2.ListIdentitiesRequest(page_size=7),
    "IdentityService.UnlinkIdentity": identity_service_pb2.UnlinkIdentityRequest(identity_id=JOB_ID),
    "UserService.GetMe": user_service_pb2.GetMeRequest(),
    "UserService.UpdateMe": user_service_pb2.UpdateMeRequest(display_name="Ada"),
    "UserService.ListSessions": user_service_pb2.ListSessionsRequest(page_size=3),
    "UserService.RevokeSession": user_service_pb2.RevokeSessionRequest(session_id=JOB_ID),
    "UserService.RevokeSessions": user_service_pb2.RevokeSessionsRequest(keep_current=True),
    "ApiKeyService.CreateApiKey": api_key_service_pb2.CreateApiKeyRequest(
        request_id="request 1", name="build server", scopes=[scope_pb2.SCOPE_READ]
    ),
    "ApiKeyService.UpdateApiKey": api_key_service_pb2.UpdateApiKeyRequest(
        api_key_id="0Ab3defG",
        limits=api_key_pb2.ApiKeyLimits(credits_a_day="5", model_ids=["pingvas-tiny"], largest_side_px=768),
    ),
    "ApiKeyService.ListApiKeys": api_key_service_pb2.ListApiKeysRequest(page_size=3),
    "ApiKeyService.DeleteApiKey": api_key_service_pb2.DeleteApiKeyRequest(api_key_id="0Ab3defG"),
    "ApiKeyService.ExchangeApiKey": api_key_service_pb2.ExchangeApiKeyRequest(key="pgv_live_0Ab3defG_secret"),
    "AccountAdminService.SearchUsers": account_admin_service_pb2.SearchUsersRequest(
        query="ad", tier=tier_pb2.TIER_PRO, page_size=7
    ),
    "AccountAdminService.SetAccountRole": account_admin_service_pb2.SetAccountRoleRequest(
        user_id=JOB_ID, role=role_pb2.ROLE_SUPPORT
    ),
    "AccountAdminService.SuspendAccount": account_admin_service_pb2.SuspendAccountRequest(
        user_id=JOB_ID, reason="sends spam"
    ),
    "AccountAdminService.ReinstateAccount": account_admin_service_pb2.ReinstateAccountRequest(user_id=JOB_ID),
    "AccountAdminService.ResetSecondFactor": account_admin_service_pb2.ResetSecondFactorRequest(user_id=JOB_ID),
    "SecondFactorService.GetSecondFactor": second_factor_service_pb2.GetSecondFactorRequest(),
    "SecondFactorService.BeginSecondFactor": second_factor_service_pb2.BeginSecondFactorRequest(),
    "SecondFactorService.ConfirmSecondFactor": second_factor_service_pb2.ConfirmSecondFactorRequest(code="123456"),
    "SecondFactorService.DisableSecondFactor": second_factor_service_pb2.DisableSecondFactorRequest(code="123456"),
    "SecondFactorService.ReplaceRecoveryCodes": second_factor_service_pb2.ReplaceRecoveryCodesRequest(code="123456"),
    "AuditService.ListAuditEvents": audit_service_pb2.ListAuditEventsRequest(page_size=7),
    "AuditService.ListAllAuditEvents": audit_service_pb2.ListAllAuditEventsRequest(
        account_id=JOB_ID, kind=audit_event_pb2.AUDIT_EVENT_KIND_SIGNED_IN, page_size=7
    ),
    "PaymentAdminService.GrantCredits": ledger_service_pb2.GrantCreditsRequest(
        request_id="request 1",
        account_id=JOB_ID,
        kind=credit_service_pb2.GRANT_KIND_PROMOTIONAL,
        amount_millicredits=999999999999999,
    ),
    "PaymentAdminService.SetTier": ledger_service_pb2.SetTierRequest(account_id=JOB_ID, tier=tier_pb2.TIER_PRO),
    "PaymentAdminService.AuditLedger": ledger_service_pb2.AuditLedgerRequest(account_id=JOB_ID),
    "CreditService.GetBalance": credit_service_pb2.GetBalanceRequest(),
    "CreditService.ListTransactions": credit_service_pb2.ListTransactionsRequest(
        page_size=7, page_token="a/b+c==", filter=TRANSACTION_FILTER
    ),
    "CreditService.ExportTransactions": credit_service_pb2.ExportTransactionsRequest(
        page_size=700, page_token="a/b+c==", filter=TRANSACTION_FILTER
    ),
    "CreditService.ExportBalance": credit_service_pb2.ExportBalanceRequest(),
    "CreditService.GetStatement": credit_service_pb2.GetStatementRequest(month="2026-11"),
    "CreditService.GetCreditNotices": credit_service_pb2.GetCreditNoticesRequest(),
    "CreditService.SetCreditNotices": credit_service_pb2.SetCreditNoticesRequest(
        low_balance="500", mails_statements=True
    ),
    "SubscriptionService.ListPlans": subscription_service_pb2.ListPlansRequest(page_size=3),
    "SubscriptionService.ListPacks": subscription_service_pb2.ListPacksRequest(page_size=3),
    "SubscriptionService.CreateCheckout": subscription_service_pb2.CreateCheckoutRequest(
        request_id="request 1", plan_id="pro"
    ),
    "SubscriptionService.GetCurrentSubscription": subscription_service_pb2.GetCurrentSubscriptionRequest(),
    "SubscriptionService.CancelSubscription": subscription_service_pb2.CancelSubscriptionRequest(),
    "SubscriptionService.PauseSubscription": subscription_service_pb2.PauseSubscriptionRequest(),
    "SubscriptionService.ResumeSubscription": subscription_service_pb2.ResumeSubscriptionRequest(),
    "SubscriptionService.ChangePlan": subscription_service_pb2.ChangePlanRequest(plan_id="studio"),
    "SubscriptionService.ListInvoices": subscription_service_pb2.ListInvoicesRequest(page_size=7),
    "EnterpriseService.RequestEnterprise": enterprise_service_pb2.RequestEnterpriseRequest(
        request_id="lead-1", company="바다 Inc.", contact="Maya, +82 2 000", message="100,000 pictures a month"
    ),
    "EnterpriseService.ListEnterpriseLeads": enterprise_service_pb2.ListEnterpriseLeadsRequest(page_size=3),
    "EnterpriseService.ActivateEnterprise": enterprise_service_pb2.ActivateEnterpriseRequest(
        account_id=JOB_ID, reference="2026-014", end_time=Timestamp(seconds=1893456000), credits="500000"
    ),
    "SubscriptionService.GetPortal": subscription_service_pb2.GetPortalRequest(),
    "SubscriptionService.SyncSubscription": subscription_service_pb2.SyncSubscriptionRequest(),
    "GenerationService.QuoteJob": generation_service_pb2.QuoteJobRequest(text_to_image=_TEXT_TO_IMAGE),
    "GenerationService.CreateJob": generation_service_pb2.CreateJobRequest(
        request_id="request 1",
        text_to_image=_TEXT_TO_IMAGE,
        webhook_url="https://hooks.example.com/pingvas?x=1&y=a%20b",
        webhook_events=[webhook_pb2.WEBHOOK_EVENT_JOB_STARTED, webhook_pb2.WEBHOOK_EVENT_JOB_FAILED],
    ),
    "GenerationService.GetJob": generation_service_pb2.GetJobRequest(job_id=JOB_ID),
    "GenerationService.ListJobs": generation_service_pb2.ListJobsRequest(
        page_size=3, states=[job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING]
    ),
    "GenerationService.CancelJob": generation_service_pb2.CancelJobRequest(job_id=JOB_ID),
    "GenerationAdminService.GetQueue": operator_service_pb2.GetQueueRequest(),
    "GenerationAdminService.ListWorkers": operator_service_pb2.ListWorkersRequest(page_size=7),
    "GenerationAdminService.DrainWorker": operator_service_pb2.DrainWorkerRequest(worker_id="worker-0"),
    "GenerationAdminService.GetJobRecord": operator_service_pb2.GetJobRecordRequest(job_id=JOB_ID),
    "GenerationAdminService.RequeueJob": generation_admin_service_pb2.RequeueJobRequest(job_id=JOB_ID),
    "GenerationAdminService.PauseTier": generation_admin_service_pb2.PauseTierRequest(
        tier=tier_pb2.TIER_FREE, reason="a faulty driver"
    ),
    "GenerationAdminService.ResumeTier": generation_admin_service_pb2.ResumeTierRequest(tier=tier_pb2.TIER_FREE),
    "WebhookEndpointService.CreateWebhookEndpoint": webhook_endpoint_service_pb2.CreateWebhookEndpointRequest(
        url="https://hooks.example.com/pingvas?x=1",
        events=[webhook_pb2.WEBHOOK_EVENT_JOB_COMPLETED],
        request_id="hook-1",
    ),
    "WebhookEndpointService.ListWebhookEndpoints": webhook_endpoint_service_pb2.ListWebhookEndpointsRequest(
        page_size=10
    ),
    "WebhookEndpointService.UpdateWebhookEndpoint": webhook_endpoint_service_pb2.UpdateWebhookEndpointRequest(
        endpoint_id=JOB_ID, update_mask=FieldMask(paths=["disabled"]), disabled=True
    ),
    "WebhookEndpointService.DeleteWebhookEndpoint": webhook_endpoint_service_pb2.DeleteWebhookEndpointRequest(
        endpoint_id=JOB_ID
    ),
    "WebhookEndpointService.RotateWebhookSecret": webhook_endpoint_service_pb2.RotateWebhookSecretRequest(
        endpoint_id=JOB_ID
    ),
    "WebhookEndpointService.TestWebhookEndpoint": webhook_endpoint_service_pb2.TestWebhookEndpointRequest(
        endpoint_id=JOB_ID
    ),
    "WebhookEndpointService.ListWebhookDeliveries": webhook_endpoint_service_pb2.ListWebhookDeliveriesRequest(
        endpoint_id=JOB_ID, page_size=10
    ),
    "WebhookEndpointService.GetAccountWebhookSecret": webhook_endpoint_service_pb2.GetAccountWebhookSecretRequest(),
    "WebhookEndpointService.RotateAccountWebhookSecret": (
        webhook_endpoint_service_pb2.RotateAccountWebhookSecretRequest()
    ),
    "WebhookEndpointService.ReplayWebhookDelivery": webhook_endpoint_service_pb2.ReplayWebhookDeliveryRequest(
        delivery_id=JOB_ID
    ),
    "GenerationService.ClearQueue": generation_service_pb2.ClearQueueRequest(includes_running=True),
    "GenerationService.WatchJob": generation_service_pb2.WatchJobRequest(job_id=JOB_ID, after="4-12"),
    "GenerationService.WatchJobs": generation_service_pb2.WatchJobsRequest(after="4"),
    "GenerationService.GetQueueStatus": generation_service_pb2.GetQueueStatusRequest(),
    "GenerationService.ListSizePresets": generation_service_pb2.ListSizePresetsRequest(page_size=3),
    "RecipeService.ReadRecipe": recipe_service_pb2.ReadRecipeRequest(picture=b"\x89PNG\r\n\x1a\n\0\xff"),
    "UsageService.GetMyUsage": usage_service_pb2.GetMyUsageRequest(day_count=7, utc_offset_minutes=540),
    "LoraService.CreateLora": lora_service_pb2.CreateLoraRequest(
        request_id="request 1", display_name="먹", family="sdxl", size_bytes=2147483648, trigger_words=["sumi-e", "먹"]
    ),
    "LoraService.GetLoraUpload": lora_service_pb2.GetLoraUploadRequest(model_id=LORA_ID),
    "LoraService.CheckLora": lora_service_pb2.CheckLoraRequest(model_id=LORA_ID),
    "LoraService.CompleteLora": lora_service_pb2.CompleteLoraRequest(model_id=LORA_ID),
    "LoraService.GetLora": lora_service_pb2.GetLoraRequest(model_id=LORA_ID),
    "LoraService.ListLoras": lora_service_pb2.ListLorasRequest(page_size=3),
    "LoraService.DeleteLora": lora_service_pb2.DeleteLoraRequest(model_id=LORA_ID),
    "ModelService.ListModels": model_service_pb2.ListModelsRequest(page_size=200),
    "ModelService.GetModel": model_service_pb2.GetModelRequest(model_id="pingvas-tiny"),
    "GalleryService.ListImages": gallery_service_pb2.ListImagesRequest(job_id=JOB_ID),
    "GalleryService.CreateUpload": gallery_service_pb2.CreateUploadRequest(
        request_id="request 1", content_type="image/webp", size_bytes=33554432
    ),
    "GalleryService.UpdateImage": gallery_service_pb2.UpdateImageRequest(
        image_id=IMAGE_ID, title="A boat", tags=gallery_service_pb2.Tags(values=["sea", "바다"]), rating=0
    ),
    "GalleryService.StarImage": gallery_service_pb2.StarImageRequest(image_id=IMAGE_ID),
    "GalleryService.UnstarImage": gallery_service_pb2.UnstarImageRequest(image_id=IMAGE_ID),
    "GalleryService.DeleteImage": gallery_service_pb2.DeleteImageRequest(image_id=IMAGE_ID, permanently=True),
    "GalleryService.RestoreImage": gallery_service_pb2.RestoreImageRequest(image_id=IMAGE_ID),
    "GalleryService.BatchStarImages": gallery_service_pb2.BatchStarImagesRequest(image_ids=[IMAGE_ID, JOB_ID]),
    "GalleryService.BatchDeleteImages": gallery_service_pb2.BatchDeleteImagesRequest(image_ids=[IMAGE_ID]),
    "GalleryService.BatchRestoreImages": gallery_service_pb2.BatchRestoreImagesRequest(image_ids=[IMAGE_ID]),
    "GalleryService.GetImage": gallery_service_pb2.GetImageRequest(image_id=IMAGE_ID),
    "BoardService.CreateBoard": board_service_pb2.CreateBoardRequest(
        request_id="request 1", name="바다", parent_board_id=BOARD_ID
    ),
    "BoardService.ListBoards": board_service_pb2.ListBoardsRequest(page_size=3, with_archived=True),
    "BoardService.GetBoard": board_service_pb2.GetBoardRequest(board_id=BOARD_ID),
    "BoardService.UpdateBoard": board_service_pb2.UpdateBoardRequest(board_id=BOARD_ID, name="Sea", parent_board_id=""),
    "BoardService.DeleteBoard": board_service_pb2.DeleteBoardRequest(board_id=BOARD_ID),
    "BoardService.AddBoardImages": board_service_pb2.AddBoardImagesRequest(board_id=BOARD_ID, image_ids=[IMAGE_ID]),
    "BoardService.RemoveBoardImage": board_service_pb2.RemoveBoardImageRequest(board_id=BOARD_ID, image_id=IMAGE_ID),
    "BoardService.BatchMoveImages": board_service_pb2.BatchMoveImagesRequest(
        image_ids=[IMAGE_ID, JOB_ID], to_board_id=BOARD_ID
    ),
    "SharingService.CreateShareLink": sharing_service_pb2.CreateShareLinkRequest(
        request_id="request 1",
        image_id=IMAGE_ID,
        with_recipe=True,
        expire_time=Timestamp(seconds=1893456000),
        view_limit=3,
    ),
    "SharingService.GetImageSharing": sharing_service_pb2.GetImageSharingRequest(image_id=IMAGE_ID),
    "SharingService.RevokeShareLinks": sharing_service_pb2.RevokeShareLinksRequest(
        image_id=IMAGE_ID, share_link_id=JOB_ID
    ),
    "SharingService.GetSharedImage": sharing_service_pb2.GetSharedImageRequest(share_token="3vGVWLWTm1S0pEFqJ0CzZA"),
    "SharingService.UnlockSharedImage": sharing_service_pb2.UnlockSharedImageRequest(
        share_token="3vGVWLWTm1S0pEFqJ0CzZA", password="open, please"
    ),
    "ExportService.CreateImageExport": export_service_pb2.CreateImageExportRequest(
        request_id="request 1", images=export_service_pb2.ImageIds(image_ids=[IMAGE_ID]), with_recipes=True
    ),
    "LibraryService.GetStorageUsage": library_service_pb2.GetStorageUsageRequest(),
    "LibraryService.ListTags": library_service_pb2.ListTagsRequest(page_size=3),
    "LineageService.GetImageLineage": lineage_service_pb2.GetImageLineageRequest(image_id=IMAGE_ID),
    "ExportService.GetImageExport": export_service_pb2.GetImageExportRequest(export_id=BOARD_ID),
    "ExportService.ListImageExports": export_service_pb2.ListImageExportsRequest(page_size=3),
    "ExportService.DeleteImageExport": export_service_pb2.DeleteImageExportRequest(export_id=BOARD_ID),
    "TemplateService.ListTemplates": template_service_pb2.ListTemplatesRequest(
        page_size=3, kind=template_pb2.TEMPLATE_KIND_STYLE, language="ko"
    ),
    "TemplateService.GetTemplate": template_service_pb2.GetTemplateRequest(template_id="product-photo"),
    "TemplateService.CreateTemplate": template_service_pb2.CreateTemplateRequest(
        request_id="request 1", content=_TEMPLATE
    ),
    "TemplateService.UpdateTemplate": template_service_pb2.UpdateTemplateRequest(
        template_id=BOARD_ID, content=_TEMPLATE
    ),
    "TemplateService.DeleteTemplate": template_service_pb2.DeleteTemplateRequest(template_id=BOARD_ID),
    "TemplateService.FillTemplate": template_service_pb2.FillTemplateRequest(
        template_id="product-photo",
        values=[template_pb2.TemplateValue(name="product", value="찻주전자")],
        style_id="style-flat",
    ),
    "TemplateService.ExportTemplates": template_service_pb2.ExportTemplatesRequest(),
    "TemplateService.ImportTemplates": template_service_pb2.ImportTemplatesRequest(
        file=template_service_pb2.TemplateFile(format="pingvas.templates.v1", templates=[_TEMPLATE])
    ),
}

_SCALARS = {
    FieldDescriptor.CPPTYPE_STRING: 'text „with“ "quotes"',
    FieldDescriptor.CPPTYPE_BOOL: True,
    FieldDescriptor.CPPTYPE_DOUBLE: 0.1,
    FieldDescriptor.CPPTYPE_FLOAT: 0.5,
    FieldDescriptor.CPPTYPE_INT32: -2147483648,
    # Doesn't fit a double: it must be a string in JSON.
    FieldDescriptor.CPPTYPE_INT64: 9223372036854775807,
}


def request_for(name: str, body: str = "") -> Message:
    """Returns a valid request for the public method `Service.Method`; raises KeyError for one that nobody added here.

    With `body` it is one whose body by HTTP is that field: for a job, one of that operation.
    """
    if body not in _OPERATIONS:
        return _REQUESTS[name]
    request = type(_REQUESTS[name])()
    request.CopyFrom(_REQUESTS[name])
    getattr(request, body).CopyFrom(_OPERATIONS[body])
    return request


def filled(message_class: type[Message]) -> Message:
    """Returns a message with something in every field, and in the last branch of every oneof."""
    message = message_class()
    if isinstance(message, Timestamp):
        message.FromJsonString("2026-07-14T09:30:00.123456Z")
        return message
    if isinstance(message, Any):
        message.Pack(ErrorInfo(reason="IMAGE_NOT_FOUND", domain="pingvas.studio"))
        return message
    for field in _descriptor(message).fields:
        _fill(message, field)
    return message


def _descriptor(message: Message) -> Descriptor:
    return message.DESCRIPTOR


def _fill(message: Message, field: FieldDescriptor) -> None:
    if field.message_type is not None:
        target = getattr(message, field.name)
        if field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            target[_scalar(key)] = _scalar(value)
            return
        (target.add() if field.is_repeated else target).CopyFrom(filled(field.message_type._concrete_class))
        return
    value = _scalar(field)
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _scalar(field: FieldDescriptor) -> object:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"\x00\xff\xfe"
    return _SCALARS[field.cpp_type]
