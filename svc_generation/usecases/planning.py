"""From a request to a plan: the defaults filled in, the limits checked, and priced.

The decisions are the pure functions of the domain; here they get what other services know.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from pingvas.generation.v1.job_pb2 import Upscale
from pingvas.models.v1 import model_pb2
from pingvas.vocabulary import Operation as OperationKind

from svc_common.api_keys import KeyLimits
from svc_common.errors import Reason, ServiceError, invalid_field
from svc_generation.domain.limits import (
    MOST_LORAS,
    ModelFacts,
    TierFacts,
    check_key,
    check_lora,
    check_loras_distinct,
    check_model,
    check_operation,
    check_scheduler,
    check_seed,
    check_tier,
    check_upscale,
    with_defaults,
)
from svc_generation.domain.pricing import quote_millicredits, quote_upscale_millicredits
from svc_generation.domain.prompts import lora_model_ids, read_prompt, refuse_notation, unknown_lora
from svc_generation.domain.sizes import Size, fitted
from svc_generation.messages.operations import (
    Denoising,
    Operation,
    filled,
    filled_upscale,
    kind_of,
    picture,
    size_of,
    with_loras,
    work,
)
from svc_generation.usecases.lookups import Lookups, model_cost, model_facts
from svc_generation.usecases.presets import PresetResolver
from svc_generation.usecases.sources import SourceResolver, Sources


@dataclass(frozen=True, slots=True)
class Plan:
    """Holds a checked and priced request."""

    operation: Operation
    """With every default filled in."""
    sources: Sources
    tier: TierFacts
    quote: int
    """Expected cost in millicredits."""

    @property
    def picture_size(self) -> Size:
        """The size of the pictures that come out."""
        operation = self.operation
        if not isinstance(operation, Upscale):
            return Size(operation.width_px, operation.height_px)
        if self.sources.picture is None:
            raise LookupError("an upscaling has no source")
        return size_of(self.sources.picture).times(operation.scale_factor)

    @property
    def run_seconds(self) -> float:
        """How long it is expected to run: a millicredit is a GPU millisecond."""
        return self.quote / 1000


class Planner:
    """Makes plans; holds nothing and writes nothing."""

    def __init__(
        self,
        *,
        lookups: Lookups,
        sources: SourceResolver,
        presets: PresetResolver,
        new_seed: Callable[[], int],
    ) -> None:
        """Takes the parts; `new_seed` draws a seed for requests that name none."""
        self._lookups = lookups
        self._sources = sources
        self._presets = presets
        self._new_seed = new_seed

    async def plan(self, wish: Operation, account_id: UUID, key: KeyLimits | None) -> Plan:
        """Plans a request of an account, of its API key if one asks. What costs a look at the object store comes last.

        Raises:
            ServiceError: MODEL_NOT_FOUND, MODEL_NOT_IN_TIER, OPERATION_UNSUPPORTED, LORA_INCOMPATIBLE, SOURCE_NOT_FOUND,
                SOURCE_INVALID, TEMPLATE_NOT_FOUND, INVALID_FIELD, PROMPT_NOTATION_UNSUPPORTED, TIER_LIMIT_EXCEEDED,
                API_KEY_LIMIT_EXCEEDED.
        """
        plan = await self._plan(wish, account_id)
        if key is not None:
            check_key(key, plan.operation.model_id, plan.picture_size)
        return plan

    async def _plan(self, wish: Operation, account_id: UUID) -> Plan:
        # One after the other: nearly always both are remembered, and then neither waits.
        tier = await self._lookups.tier(account_id)
        spec = await self._lookups.model(wish.model_id)
        model = model_facts(spec.model)
        check_model(model, tier)
        check_operation(model, kind_of(wish))
        if isinstance(wish, Upscale):
            refuse_notation(wish.prompt, f"{OperationKind.UPSCALE}.prompt")
            return await self._upscaling(wish, spec, tier, account_id)
        wish = await self._presets.resolve(wish, account_id, tier.largest_side_px)
        wish, fields = await self._with_loras_of_prompt(wish, account_id)
        await self._check_loras(wish, fields, model, tier, account_id)
        return await self._denoising(wish, spec, tier, account_id)

    async def _denoising(self, wish: Denoising, spec: model_pb2.ModelSpec, tier: TierFacts, account_id: UUID) -> Plan:
        model, prefix = model_facts(spec.model), kind_of(wish)
        sources = await self._sources.resolve(wish, account_id)
        size = fitted(size_of(sources.picture), tier.largest_side_px) if sources.picture else model.native_size
        chosen = with_defaults(picture(wish), model, size)
        check_scheduler(chosen, model, prefix)
        check_tier(chosen, tier, prefix)
        check_seed(wish.seed, chosen.image_count, prefix)
        operation = filled(wish, chosen, model.model_id, self._seed(wish))
        return Plan(operation, sources, tier, quote_millicredits(model_cost(spec), work(operation)))

    async def _upscaling(self, wish: Upscale, spec: model_pb2.ModelSpec, tier: TierFacts, account_id: UUID) -> Plan:
        model, prefix = spec.model, kind_of(wish)
        source = await self._sources.resolve_one(wish.source, account_id, f"{prefix}.source")
        size = size_of(source)
        operation = filled_upscale(wish, model.model_id, model.default_step_count, self._seed(wish))
        check_upscale(size, operation.scale_factor, operation.step_count, tier, prefix)
        quote = quote_upscale_millicredits(model_cost(spec), size.times(operation.scale_factor))
        return Plan(operation, Sources(source), tier, quote)

    async def _with_loras_of_prompt(self, wish: Denoising, account_id: UUID) -> tuple[Denoising, list[str]]:
        """Moves the LoRAs that a prompt names to `loras`; returns the fields as well in which each one is named."""
        prefix = kind_of(wish)
        field = f"{prefix}.prompt"
        refuse_notation(wish.negative_prompt, f"{prefix}.negative_prompt")
        read = read_prompt(wish.prompt, field)
        fields = [f"{prefix}.loras[{index}].model_id" for index in range(len(wish.loras))] + [field] * len(read.loras)
        if len(fields) > MOST_LORAS:
            raise invalid_field(
                field, f"names LoRAs: with those of `loras` there are {len(fields)}, at most {MOST_LORAS}"
            )
        model_ids = [await self._lora_id(tag.name, field, account_id) for tag in read.loras]
        return with_loras(wish, read, model_ids), fields

    async def _lora_id(self, name: str, field: str, account_id: UUID) -> str:
        for model_id in lora_model_ids(name):
            try:
                return (await self._lookups.model(model_id, account_id)).model.model_id
            except ServiceError as error:
                if error.reason is not Reason.MODEL_NOT_FOUND:
                    raise
        raise unknown_lora(name, field)

    async def _check_loras(
        self, wish: Denoising, fields: Sequence[str], model: ModelFacts, tier: TierFacts, account_id: UUID
    ) -> None:
        if not wish.loras:
            return
        model_ids = [lora.model_id for lora in wish.loras]
        check_loras_distinct(model_ids, fields)
        specs = await asyncio.gather(*(self._lookups.model(model_id, account_id) for model_id in model_ids))
        for field, spec in zip(fields, specs, strict=True):
            lora = model_facts(spec.model)
            check_lora(lora, model, field)
            check_model(lora, tier)

    def _seed(self, wish: Operation) -> int:
        return wish.seed if wish.HasField("seed") else self._new_seed()
