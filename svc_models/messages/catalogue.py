"""Turns rows into the messages of `pingvas.models.v1`, and the entitlement of `pingvas.payment.v1` into a reach."""

from pingvas.common.v1 import tier_pb2
from pingvas.models.v1 import catalogue_service_pb2, model_pb2
from pingvas.payment.v1 import entitlement_pb2
from pingvas.vocabulary import Operation, Tier

from svc_common.tiers import Reach
from svc_models.domain.kinds import ModelKind
from svc_models.domain.manifest import ManifestFile
from svc_models.domain.storage import Located
from svc_models.store.models import ModelRevision


def model_spec_message(row: ModelRevision) -> model_pb2.ModelSpec:
    """Returns all that is needed to run and to price a model."""
    files = [model_pb2.ModelFile(**file) for file in row.files]
    cost = model_pb2.ModelCost(
        per_megapixel_step_millicredits=row.millicredits_per_megapixel_step,
        fixed_millicredits=row.fixed_millicredits,
        upscale_per_megapixel_millicredits=row.upscale_millicredits_per_megapixel,
    )
    model = _model_message(row, size_bytes=sum(file.size_bytes for file in files))
    return model_pb2.ModelSpec(model=model, files=files, cost=cost)


def manifest_files(row: ModelRevision) -> list[ManifestFile]:
    """Returns the files of a revision."""
    return [ManifestFile(**file) for file in row.files]


def located_message(located: Located) -> catalogue_service_pb2.LocateModelFilesResponse:
    """Returns addresses as the contract has them."""
    files = [catalogue_service_pb2.LocatedFile(path=path, url=url) for path, url in located.addresses.items()]
    message = catalogue_service_pb2.LocateModelFilesResponse(files=files)
    message.expire_time.FromDatetime(located.expire_time)
    return message


def reach_of(entitlement: entitlement_pb2.Entitlement) -> Reach:
    """Returns what an entitlement says about models."""
    return Reach(Tier(entitlement.tier), frozenset(entitlement.limits.model_families))


def _model_message(row: ModelRevision, *, size_bytes: int) -> model_pb2.Model:
    message = model_pb2.Model(
        model_id=row.model_id,
        display_name=row.display_name,
        family=row.family,
        revision=row.revision,
        licence=row.licence,
        native_width_px=row.native_width_px,
        native_height_px=row.native_height_px,
        default_step_count=row.default_step_count,
        default_guidance_scale=row.default_guidance_scale,
        schedulers=row.schedulers,
        minimum_tier=tier_pb2.Tier.ValueType(Tier.of(row.minimum_tier)),
        size_bytes=size_bytes,
        kind=model_pb2.ModelKind.ValueType(ModelKind.of(row.kind)),
        operations=[model_pb2.Operation.Value(f"OPERATION_{Operation(name).name}") for name in row.operations],
        trigger_words=row.trigger_words,
    )
    message.create_time.FromDatetime(row.create_time)
    return message
