"""`pingvas admin users`, `set-role`, `suspend`, `reinstate`, `reset-second-factor` and `audit`: the accounts of others."""

import json
from datetime import UTC
from itertools import islice

import click
from google.protobuf.json_format import MessageToDict
from pingvas.common.v1.role_pb2 import Role
from pingvas.common.v1.tier_pb2 import Tier
from pingvas.user.v1.account_admin_service_pb2 import (
    ManagedUser,
    ReinstateAccountRequest,
    ResetSecondFactorRequest,
    SearchUsersRequest,
    SetAccountRoleRequest,
    SuspendAccountRequest,
)
from pingvas.user.v1.account_admin_service_pb2_grpc import AccountAdminServiceStub
from pingvas.user.v1.audit_event_pb2 import AuditEvent, AuditEventKind
from pingvas.user.v1.audit_service_pb2 import ListAllAuditEventsRequest
from pingvas.user.v1.audit_service_pb2_grpc import AuditServiceStub

from studio.cli.administrator import TIERS, Administrator
from studio.cli.context import Shared, json_option, pass_shared, shared_options
from svc_common.account_roles import AccountRole
from svc_common.scopes import role_named, role_value
from svc_common.tiers import tier_name

_KIND_PREFIX = "AUDIT_EVENT_KIND_"
_KINDS = tuple(name.removeprefix(_KIND_PREFIX).lower() for name, number in AuditEventKind.items() if number)
_ROLES = tuple(role.value for role in AccountRole)


@click.command()
@shared_options
@click.argument("query", required=False, default="")
@click.option("--tier", type=click.Choice(TIERS), help="Only accounts on this tier.")
@click.option("--role", type=click.Choice(_ROLES), help="Only users with this role.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many to list at most."
)
@json_option
@pass_shared
def users(shared: Shared, *, query: str, tier: str | None, role: str | None, limit: int, as_json: bool) -> None:
    """List users, the newest first: all, or those whose address, name or id QUERY begins or is."""
    wanted_tier = Tier.Value(f"TIER_{tier.upper()}") if tier else Tier.TIER_UNSPECIFIED
    wanted_role = role_value(AccountRole(role)) if role else Role.ROLE_UNSPECIFIED
    with Administrator(shared) as administrator:
        search = AccountAdminServiceStub(administrator.client.channel).SearchUsers
        request = SearchUsersRequest(query=query, tier=wanted_tier, role=wanted_role, page_size=min(limit, 200))
        shown = list(islice(administrator.client.items(search, request), limit))
    if as_json:
        click.echo(json.dumps([MessageToDict(each, preserving_proto_field_name=True) for each in shown], indent=2))
        return
    for each in shown:
        click.echo(_line(each))


@click.command("set-role")
@shared_options
@click.argument("email")
@click.argument("role", type=click.Choice(_ROLES))
@pass_shared
def set_role(shared: Shared, email: str, role: str) -> None:
    """Give a user a role."""
    with Administrator(shared) as administrator:
        user_id = administrator.user(email).user.user_id
        request = SetAccountRoleRequest(user_id=user_id, role=role_value(AccountRole(role)))
        administrator.client.call(AccountAdminServiceStub(administrator.client.channel).SetAccountRole, request)
    click.echo(f"{email} has the role {role} now.")


@click.command()
@shared_options
@click.argument("email")
@click.option("--reason", required=True, help="Why; other administrators see it.")
@pass_shared
def suspend(shared: Shared, email: str, reason: str) -> None:
    """Suspend a user's account, and end all its sessions."""
    with Administrator(shared) as administrator:
        request = SuspendAccountRequest(user_id=administrator.user(email).user.user_id, reason=reason)
        administrator.client.call(AccountAdminServiceStub(administrator.client.channel).SuspendAccount, request)
    click.echo(f"{email} is suspended.")


@click.command()
@shared_options
@click.argument("email")
@pass_shared
def reinstate(shared: Shared, email: str) -> None:
    """End the suspension of a user's account."""
    with Administrator(shared) as administrator:
        request = ReinstateAccountRequest(user_id=administrator.user(email).user.user_id)
        administrator.client.call(AccountAdminServiceStub(administrator.client.channel).ReinstateAccount, request)
    click.echo(f"{email} can log in again.")


@click.command("reset-second-factor")
@shared_options
@click.argument("email")
@pass_shared
def reset_second_factor(shared: Shared, email: str) -> None:
    """Turn the second factor of a user off who lost it; a mail tells them."""
    with Administrator(shared) as administrator:
        request = ResetSecondFactorRequest(user_id=administrator.user(email).user.user_id)
        administrator.client.call(AccountAdminServiceStub(administrator.client.channel).ResetSecondFactor, request)
    click.echo(f"{email} signs in without a second factor now.")


@click.command()
@shared_options
@click.argument("email", required=False)
@click.option("--kind", type=click.Choice(_KINDS), help="Only events of this kind.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many to list at most."
)
@json_option
@pass_shared
def audit(shared: Shared, *, email: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """List what was done to a user's account, or to all accounts, the newest first."""
    wanted = (
        AuditEventKind.Value(f"{_KIND_PREFIX}{kind.upper()}") if kind else AuditEventKind.AUDIT_EVENT_KIND_UNSPECIFIED
    )
    with Administrator(shared) as administrator:
        account_id = administrator.account_of(email) if email else ""
        request = ListAllAuditEventsRequest(account_id=account_id, kind=wanted, page_size=min(limit, 200))
        listing = AuditServiceStub(administrator.client.channel).ListAllAuditEvents
        shown = list(islice(administrator.client.items(listing, request), limit))
    if as_json:
        click.echo(json.dumps([MessageToDict(each, preserving_proto_field_name=True) for each in shown], indent=2))
        return
    for each in shown:
        click.echo(_event_line(each))


def _event_line(each: AuditEvent) -> str:
    moment = each.create_time.ToDatetime(UTC).astimezone()
    kind = AuditEventKind.Name(each.kind).removeprefix(_KIND_PREFIX).lower()
    details = " ".join(f"{name}={value}" for name, value in sorted({**each.before, **each.after}.items()))
    return (
        f"{moment:%Y-%m-%d %H:%M:%S}  {each.account_id or '-':<36}  {kind:<24}  {each.actor}  {each.network}  {details}"
    )


def _line(each: ManagedUser) -> str:
    user = each.user
    registered = user.create_time.ToDatetime(UTC).astimezone()
    state = f"  suspended: {each.suspend_reason}" if each.HasField("suspend_time") else ""
    role = role_named(user.role)
    return f"{user.user_id}  {registered:%Y-%m-%d}  {tier_name(each.tier):<10}  {role:<13}  {user.email}{state}"
