"""What a checkpoint's file says of its sampling: v-prediction, and noise to the end of the schedule (zero terminal SNR).

Trainers mark such files with empty tensors, or in the metadata that modelspec.md of Stability defines. Whoever puts a config of
the usual kind beside such a file would sample noise, so the file's word counts.
"""

from collections.abc import Mapping
from typing import Any, Final

from gpu_worker.models.checkpoint_files.header import CheckpointError
from svc_common.safetensors_header import FileHeader

MARKERS: Final = frozenset({"v_pred", "ztsnr"})
_UNSUPPORTED: Final = ("edm_vpred.sigma_max", "edm_vpred.sigma_min", "edm_mean", "edm_std")
_METADATA_KEYS: Final = ("modelspec.prediction_type", "modelspec.predict_key")
_V_NAMES: Final = frozenset({"v", "v_prediction", "v-prediction", "vprediction", "v_pred"})
_ZERO_SNR_KEY: Final = "ss_zero_terminal_snr"
_ZERO_SNR: Final = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
"""Only trailing steps begin at the end of the schedule, where such a model was trained to begin."""


def sampling_changes(header: FileHeader, scheduler_config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what to change in a scheduler's config for it to be what the file says.

    A word for v-prediction wins over a config for noise (epsilon), which is what configs say unless somebody thought of
    it. A word for noise doesn't win: trainers write it into whatever they make.

    Raises CheckpointError when file and config contradict each other, or the file wants what isn't supported.
    """
    unsupported = [key for key in _UNSUPPORTED if key in header.tensors]
    if unsupported:
        raise CheckpointError(f"is to be sampled as EDM ({unsupported[0]}), which isn't supported")
    configured = scheduler_config.get("prediction_type", "epsilon")
    changes: dict[str, Any] = {}
    if _says_v(header) and configured != "v_prediction":
        if configured != "epsilon":
            raise CheckpointError(f"says v-prediction, but the scheduler's config {configured}")
        configured = changes["prediction_type"] = "v_prediction"
    if "ztsnr" in header.tensors or header.metadata.get(_ZERO_SNR_KEY, "").lower() == "true":
        if configured != "v_prediction":
            raise CheckpointError(
                "says zero terminal SNR (ztsnr), which needs v-prediction: mark it v_pred too, or say so in the config"
            )
        changes |= _ZERO_SNR
    return changes


def _says_v(header: FileHeader) -> bool:
    named = (header.metadata.get(key, "").strip().lower() for key in _METADATA_KEYS)
    return "v_pred" in header.tensors or any(name in _V_NAMES for name in named)
