"""Makes prompt and size of an operation from what its `preset` names: svc_gallery keeps templates and styles."""

import copy
from typing import Final
from uuid import UUID

from pingvas.gallery.v1 import preset_service_pb2, preset_service_pb2_grpc
from pingvas.generation.v1.job_pb2 import AppliedPreset, Preset

from svc_common.errors import FieldViolation, ServiceError, invalid_field
from svc_generation.domain.sizes import SIZE_PRESETS, fitted
from svc_generation.messages.operations import Denoising, kind_of

MOST_PROMPT_CHARACTERS: Final = 2000
"""The contract's own limit of a prompt, which also holds for one that a template makes."""


class PresetResolver:
    """Puts the texts and the size in place that a request names by their ids."""

    def __init__(self, gallery: "preset_service_pb2_grpc.PresetServiceAsyncStub") -> None:
        """Takes the internal stub."""
        self._gallery = gallery

    async def resolve(self, wish: Denoising, account_id: UUID, largest_side_px: int) -> Denoising:
        """Returns an account's operation without `preset`, and with what came of it.

        A size that the template only suggests is made smaller than `largest_side_px`; one that the request names is left to
        the checks.

        Raises:
            ServiceError: TEMPLATE_NOT_FOUND, INVALID_FIELD with the field's path.
        """
        if not (wish.HasField("preset") or wish.HasField("applied_preset")):
            return wish
        preset, result = wish.preset, copy.deepcopy(wish)
        result.ClearField("preset")
        # Whatever the request says of it: only what is done here counts.
        result.ClearField("applied_preset")
        size_preset = ""
        if preset.template_id or preset.style_id:
            size_preset = await self._fill(result, preset, account_id)
            result.applied_preset.CopyFrom(AppliedPreset(template_id=preset.template_id, style_id=preset.style_id))
        if preset.size_preset:
            size = SIZE_PRESETS[preset.size_preset].size
            result.width_px, result.height_px = size.width_px, size.height_px
        elif size_preset in SIZE_PRESETS and not (wish.width_px or wish.height_px):
            size = fitted(SIZE_PRESETS[size_preset].size, largest_side_px)
            result.width_px, result.height_px = size.width_px, size.height_px
        return result

    async def _fill(self, result: Denoising, preset: Preset, account_id: UUID) -> str:
        """Puts the texts of template and style into an operation, and returns the name of the size that suits it."""
        request = preset_service_pb2.ResolvePresetRequest(
            account_id=str(account_id),
            template_id=preset.template_id,
            values=preset.values,
            style_id=preset.style_id,
            prompt=result.prompt,
            negative_prompt=result.negative_prompt,
            already_filled=preset.already_filled,
        )
        prefix = kind_of(result)
        try:
            filled = await self._gallery.ResolvePreset(request)
        except ServiceError as error:
            error.violations = tuple(
                FieldViolation(
                    f"{prefix}.{fault.field}" if fault.field == "prompt" else f"{prefix}.preset.{fault.field}",
                    fault.description,
                )
                for fault in error.violations
            )
            raise
        for field in ("prompt", "negative_prompt"):
            text = getattr(filled, field)
            if len(text) > MOST_PROMPT_CHARACTERS:
                raise invalid_field(
                    f"{prefix}.{field}",
                    f"has {len(text)} characters with its template and style, at most {MOST_PROMPT_CHARACTERS}",
                )
            setattr(result, field, text)
        return filled.size_preset
