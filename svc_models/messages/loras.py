"""Turns rows of own LoRAs into the messages of `pingvas.models.v1`."""

from pingvas.common.v1 import tier_pb2
from pingvas.models.v1 import lora_pb2, model_pb2

from svc_common.own_models import own_model_id
from svc_models.domain.loras import FILE_NAME, LoraState
from svc_models.store.models import OwnLora

_NO_LICENCE = "NOASSERTION"
"""What SPDX calls a licence that nobody says anything about: the file is its owner's."""
_PASSING = (LoraState.UPLOADING, LoraState.REFUSED)


def lora_message(lora: OwnLora) -> lora_pb2.Lora:
    """Returns a LoRA as its owner sees it."""
    message = lora_pb2.Lora(
        model_id=own_model_id(lora.lora_id),
        display_name=lora.display_name,
        family=lora.family,
        state=lora_pb2.LoraState.ValueType(lora.state),
        size_bytes=lora.size_bytes,
        trigger_words=lora.trigger_words,
        module_count=lora.module_count,
        unmatched_module_count=lora.unmatched_module_count,
        rank=lora.rank,
        refusal=lora.refusal,
    )
    message.create_time.FromDatetime(lora.create_time)
    if lora.state in _PASSING:
        message.expire_time.FromDatetime(lora.expire_time)
    return message


def own_model_spec(lora: OwnLora) -> model_pb2.ModelSpec:
    """Returns what is needed to run a LoRA that is ready. Each attempt that put it together counts as a revision."""
    model = model_pb2.Model(
        model_id=own_model_id(lora.lora_id),
        display_name=lora.display_name,
        family=lora.family,
        revision=str(lora.attempt),
        licence=_NO_LICENCE,
        minimum_tier=tier_pb2.TIER_FREE,
        size_bytes=lora.size_bytes,
        kind=model_pb2.MODEL_KIND_LORA,
        trigger_words=lora.trigger_words,
        is_own=True,
    )
    model.create_time.FromDatetime(lora.create_time)
    file = model_pb2.ModelFile(path=FILE_NAME, size_bytes=lora.size_bytes, sha256=lora.sha256 or "")
    return model_pb2.ModelSpec(model=model, files=[file])


def place_of(lora: OwnLora) -> list[str]:
    """Returns where a LoRA stands in the list of its account's, for a page token."""
    return [lora.create_time.isoformat(), str(lora.lora_id)]
