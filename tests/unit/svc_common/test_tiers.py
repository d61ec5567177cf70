"""The tiers of the contract, and which models each reaches."""

import pytest
from pingvas.vocabulary import Operation, Tier

from svc_common.errors import Code, Reason
from svc_common.tiers import Reach, model_not_in_tier


def test_tiers_are_ordered_and_named() -> None:
    assert Tier.FREE < Tier.STARTER < Tier.PRO < Tier.STUDIO < Tier.ENTERPRISE
    assert [Tier.of(tier.label) for tier in Tier] == list(Tier)


@pytest.mark.parametrize("name", ["", "FREE", "gold", "unspecified"])
def test_unknown_tier_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="none of the tiers free, starter, pro, studio, enterprise"):
        Tier.of(name)


def test_unknown_operation_is_refused() -> None:
    assert Operation.of("inpaint") is Operation.INPAINT
    with pytest.raises(ValueError, match="'outpaint' is none of text_to_image, image_to_image, inpaint, upscale"):
        Operation.of("outpaint")


@pytest.mark.parametrize(
    ("tier", "family", "minimum_tier", "is_included"),
    [
        (Tier.FREE, "tiny", Tier.FREE, True),
        (Tier.STUDIO, "tiny", Tier.FREE, True),
        (Tier.STUDIO, "tiny", Tier.STUDIO, True),
        (Tier.PRO, "tiny", Tier.STUDIO, False),
        (Tier.ENTERPRISE, "sdxl", Tier.FREE, False),
    ],
)
def test_reach_wants_family_and_tier(tier: Tier, family: str, minimum_tier: Tier, is_included: bool) -> None:
    assert Reach(tier, frozenset({"tiny", "sd15"})).includes(family, minimum_tier) is is_included


def test_refusal_tells_model_and_tiers() -> None:
    refusal = model_not_in_tier("flux-dev", Tier.FREE, Tier.PRO)

    assert (refusal.reason, refusal.code) == (Reason.MODEL_NOT_IN_TIER, Code.PERMISSION_DENIED)
    assert refusal.metadata == {"model_id": "flux-dev", "tier": "free", "minimum_tier": "pro"}
