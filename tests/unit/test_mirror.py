"""Unit tests lie where their module lies: `tests/unit/P/test_M.py` is about a module or package M somewhere below P.

Those that are about something else are listed with what that is, so that a stranger finds them as well.
"""

from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
UNIT: Final = ROOT / "tests" / "unit"
_ABOUT: Final = {
    "test_mirror.py": "this folder",
    "test_fake_pipeline.py": "tests/fakes/pipeline.py",
    "docs/test_adrs.py": "docs/adr/",
    "edge_envoy/test_installed.py": "what an installation holds",
    "gpu_worker/render/test_residency_threads.py": "gpu_worker/render/residency.py, under two threads",
    "studio/cli/test_commands.py": "all commands together",
    "studio/test_containers.py": "containers/ and the files of Compose",
    "svc_common/test_lora_survey.py": "svc_common/lora_files/, as a push uses it",
    "svc_common/test_pictures_as_seen.py": "svc_common/decoding.py and svc_common/pictures.py",
    "svc_common/test_validation_messages.py": "the words of svc_common/interceptors/validation.py",
    "svc_generation/test_limits_and_prices.py": "svc_generation/domain/: limits, pricing and waiting times",
    "svc_generation/test_recipe_reading.py": "svc_generation/domain/recipes/",
    "svc_models/test_folders.py": "how svc_models/tasks.py reads folders",
    "svc_payment/test_billing_order.py": "svc_payment/domain/billing.py: the newer of two states",
    "training/test_networks.py": "the networks of training/, one by one",
}
TESTS: Final = sorted(path.relative_to(UNIT) for path in UNIT.rglob("test_*.py"))


@pytest.mark.parametrize("test", TESTS, ids=str)
def test_unit_tests_lie_where_their_module_lies(test: Path) -> None:
    name = test.stem.removeprefix("test_")
    found = [path for path in (ROOT / test.parent).rglob(f"{name}*") if path.stem == name]
    assert bool(found) != (str(test) in _ABOUT), "move it to its module, or say in _ABOUT what it is about"


def test_what_is_listed_exists() -> None:
    assert set(_ABOUT) <= {str(test) for test in TESTS}
