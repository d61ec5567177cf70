"""What a refused call means to the person at the keyboard: what happened and which command helps."""

import math
from collections.abc import Mapping

import grpc
from pingvas_sdk import RefusedError, UnreachableError

from studio.cli.failures import CommandError, ExitCode
from svc_common.errors import Reason

_LOG_IN = "Log in again with `pingvas login EMAIL`."
_TRY_AGAIN = "Nothing was changed, or the repeat is safe: try again in a moment."

_ADVICE: Mapping[str, str] = {
    Reason.INTERNAL: "Try again; if it stays, report the error id {error_id} to the operator of this deployment.",
    Reason.INVALID_FIELD: "Correct what is named below.",
    Reason.TIER_LIMIT_EXCEEDED: "The tier {tier} allows {limit}: ask for less, or upgrade.",
    Reason.PAGE_TOKEN_INVALID: "Start the list again from its beginning.",
    Reason.CREDENTIALS_MISSING: "Log in with `pingvas login EMAIL`.",
    Reason.TOKEN_INVALID: _LOG_IN,
    Reason.TOKEN_EXPIRED: _LOG_IN,
    Reason.REFRESH_TOKEN_INVALID: _LOG_IN,
    Reason.REFRESH_TOKEN_REUSED: _LOG_IN,
    Reason.LOGIN_FAILED: "Check both, confirm the address by the link in your mail, or register with "
    "`pingvas register EMAIL`.",
    Reason.EMAIL_TAKEN: "Log in with `pingvas login EMAIL`, or register another address.",
    Reason.USER_NOT_FOUND: "Check the address, or register it with `pingvas register EMAIL`.",
    Reason.OVERLOADED: "Try again in a moment.",
    Reason.DEPENDENCY_UNAVAILABLE: _TRY_AGAIN,
    Reason.DEADLINE_TOO_SHORT: _TRY_AGAIN,
    Reason.MODEL_NOT_FOUND: "Leave --model out to use the default model.",
    Reason.MODEL_NOT_IN_TIER: "It needs the tier {minimum_tier}: choose another model, or upgrade.",
    Reason.INSUFFICIENT_CREDITS: "You have {balance} credits and it costs {price}: ask for less, or get more credits "
    "(on a local stack: `pingvas admin grant EMAIL CREDITS`).",
    Reason.QUEUE_FULL: "The tier {tier} lets {limit} jobs wait: cancel one with `pingvas jobs cancel JOB_ID`.",
    Reason.JOB_NOT_FOUND: "`pingvas jobs list` shows your jobs.",
    Reason.WORKER_NOT_FOUND: "`pingvas admin workers` lists those that were heard of.",
    Reason.JOB_ALREADY_ENDED: "There is nothing left to cancel.",
    Reason.IMAGE_NOT_FOUND: "`pingvas images list` shows your pictures.",
    Reason.OPERATION_UNSUPPORTED: "`pingvas models` shows which models can do it.",
    Reason.LORA_INCOMPATIBLE: "Leave the LoRA out, or choose a model of its family with --model.",
    Reason.SOURCE_NOT_FOUND: "`pingvas images list` shows your pictures; a file is uploaded when you name it.",
    Reason.SOURCE_INVALID: "Use a PNG, JPEG or WebP picture of one frame, at most 40 megapixels and 32 MiB.",
    Reason.STORAGE_FULL: "The operator has to make room (on a local stack: `pingvas status` tells where).",
    Reason.RATE_LIMITED: "Try again in a moment.",
    Reason.TOO_MANY_STREAMS: "Stop one of the commands that watch jobs.",
    Reason.STORAGE_QUOTA_EXCEEDED: "Delete pictures and empty the bin, or upgrade. Uploads expire a day after they were made.",
    Reason.PROMPT_NOTATION_UNSUPPORTED: "Change what is named below.",
    Reason.MODEL_UNUSABLE: "Choose another with --model: `pingvas models` shows what there is.",
    Reason.RECIPE_INVALID: "Leave --from out and give the prompt and the other options yourself.",
    Reason.PROVIDER_NOT_CONFIGURED: "Log in with a password: `pingvas login EMAIL`.",
    Reason.PROVIDER_SIGN_IN_FAILED: "Run the command again.",
    Reason.IDENTITY_EMAIL_UNVERIFIED: "Verify the address there, then run the command again.",
    Reason.IDENTITY_TAKEN: "Sign in with it, or unlink it from the other account first.",
    Reason.LAST_WAY_IN: "Set a password or link another provider first.",
    Reason.PRODUCT_NOT_FOUND: "`pingvas plans` shows what this deployment sells.",
    Reason.SUBSCRIPTION_NOT_FOUND: "Subscribe with `pingvas subscribe PLAN`.",
    Reason.SUBSCRIPTION_EXISTS: "You have the plan {plan_id}: `pingvas subscribe PLAN` changes it.",
    Reason.SUBSCRIPTION_NOT_ACTIVE: "It is {state}: resume it, or pay what is open, and try again.",
    Reason.PAUSE_UNSUPPORTED: "Cancel it with `pingvas subscription cancel`; it can be resumed until it ends.",
    Reason.PAYMENT_OVERDUE: "Pay on the provider's portal, which `pingvas invoices` names.",
    Reason.LINK_INVALID: "Ask for another link with `pingvas account resend EMAIL` or `pingvas account forgot EMAIL`.",
    Reason.SESSION_NOT_FOUND: "`pingvas account sessions` shows your sessions.",
    Reason.EMAIL_NOT_VERIFIED: "Open the link in your mail, or ask for another with `pingvas account resend EMAIL`.",
    Reason.WEBHOOK_NOT_FOUND: "List your endpoints with `pingvas webhooks list`.",
    Reason.WEBHOOK_ADDRESS_REFUSED: "Give an https address whose host is public.",
    Reason.ENTERPRISE_CONTRACT_EXISTS: "Use another --reference, or repeat the first terms.",
    Reason.TOO_MANY_LEADS: "Wait for the answer of the sales team.",
    Reason.TOO_MANY_WEBHOOKS: "Delete one with `pingvas webhooks delete ENDPOINT_ID`.",
    Reason.API_KEY_INVALID: "Make another with `pingvas keys create NAME`.",
    Reason.SCOPE_MISSING: "Use a key that has the scope, or log in with `pingvas login EMAIL`.",
    Reason.ROLE_MISSING: "It needs the role {role}: log in as somebody who has it with `pingvas login EMAIL`.",
    Reason.ACCOUNT_SUSPENDED: "Ask the support of this deployment.",
    Reason.SECOND_FACTOR_CODE_MISSING: "Give a code of your authenticator app as well, with --code.",
    Reason.SECOND_FACTOR_FAILED: "Wait for the next code of your authenticator app, or use a recovery code.",
    Reason.SECOND_FACTOR_REQUIRED: "Set one up with `pingvas account second-factor on`.",
    Reason.LAST_ADMINISTRATOR: "Make another administrator first: `pingvas admin set-role EMAIL administrator`.",
    Reason.FRESH_SIGN_IN_REQUIRED: "Give --password, or log in again, then repeat it within ten minutes.",
    Reason.ACCOUNT_CLOSED: "Keep the account with `pingvas account keep`.",
    Reason.API_KEY_LIMIT_EXCEEDED: "The key allows {allowed}: ask for less, or change it by `pingvas keys limit {api_key_id}`.",
    Reason.TOO_MANY_UPLOADS: "Wait until one of them expires, a day after it was made.",
    Reason.SHARE_LINK_NOT_FOUND: "Ask who gave you the link for a new one.",
    Reason.TOO_MANY_SHARE_LINKS: "Revoke one: `pingvas images unshare IMAGE_ID` takes them all back.",
    Reason.BOARD_NOT_FOUND: "`pingvas boards list` shows your boards.",
    Reason.TOO_MANY_BOARDS: "Delete one with `pingvas boards delete BOARD_ID`; its pictures stay.",
    Reason.TEMPLATE_NOT_FOUND: "`pingvas templates list` shows templates and styles.",
    Reason.TOO_MANY_TEMPLATES: "Delete one with `pingvas templates delete TEMPLATE_ID`.",
    Reason.EXPORT_NOT_FOUND: "It lives for a day: run `pingvas images export FILE` again.",
    Reason.SHARE_PASSWORD_REQUIRED: "Open the link in a browser, which asks for the password.",
    Reason.SHARE_PASSWORD_WRONG: "Ask who gave you the link for its password.",
    Reason.LORA_INVALID: "Upload a LoRA in the safetensors format for the family that you named.",
    Reason.LORA_LIMIT_REACHED: "`pingvas loras delete MODEL_ID` makes room; `pingvas plans` shows what other tiers allow.",
    Reason.LORA_IN_USE: "Wait for those jobs, or cancel them: `pingvas jobs list` shows them.",
    Reason.LORA_PARTS_MISSING: "Upload the file again.",
    Reason.LORA_STATE_CONFLICT: "`pingvas loras list` shows how far it is.",
    Reason.JOB_NOT_REQUEUABLE: "`pingvas admin job {job_id}` shows what became of it.",
    Reason.TOO_MANY_EXPORTS: "Wait until one expires, a day after it was made.",
}
_UNREACHABLE_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


def command_error(error: RefusedError | UnreachableError, endpoint: str) -> CommandError:
    """Returns the failure of a command whose call was refused, or got no answer."""
    if isinstance(error, RefusedError):
        if error.reason:
            return _from_the_platform(error)
        if error.code is grpc.StatusCode.UNAUTHENTICATED:
            return CommandError(f"{endpoint} does not accept this log-in ({error.message})", advice=_LOG_IN)
    elif error.code in _UNREACHABLE_CODES:
        return CommandError(
            f"no answer from {endpoint} ({error.details})",
            advice="See whether it runs (`pingvas status` for the local stack) and whether --endpoint is right.",
            exit_code=ExitCode.UNREACHABLE,
        )
    details = error.message if isinstance(error, RefusedError) else error.details
    return CommandError(
        f"{endpoint} answered {error.code.name}: {details}",
        advice="See whether --endpoint names a deployment of Pingvas Studio of this version.",
    )


def _from_the_platform(error: RefusedError) -> CommandError:
    details = "\n".join(f"{violation.field}: {violation.description}" for violation in error.violations)
    unreachable = error.reason == Reason.DEPENDENCY_UNAVAILABLE
    # The message lists the fields again, which are shown below it.
    happened = "the request is not valid" if error.reason == Reason.INVALID_FIELD and details else error.message
    return CommandError(
        happened,
        advice=_advice(error),
        exit_code=ExitCode.UNREACHABLE if unreachable else ExitCode.REFUSED,
        details=details,
    )


def _advice(error: RefusedError) -> str:
    if error.retry_after is not None:
        return f"Try again in {math.ceil(error.retry_after.total_seconds())} s."
    template = _ADVICE.get(error.reason)
    if template is None:
        return f"The reason is {error.reason}."
    try:
        return template.format(**error.metadata)
    except KeyError:
        # A server of another release sent other metadata; its message alone must do.
        return f"The reason is {error.reason}."
