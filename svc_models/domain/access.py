"""The refusal of models that aren't there. Who reaches one that is there says `svc_common.tiers`."""

from svc_common.errors import Reason, ServiceError


def model_not_found(model_id: str) -> ServiceError:
    """Returns the refusal of a model that the catalogue doesn't have; an empty id asked for the default model."""
    if not model_id:
        message = "The catalogue has no models yet; put one into a folder that CATALOGUE_DIRS names."
        return ServiceError(Reason.MODEL_NOT_FOUND, message, metadata={"model_id": ""})
    message = f"There is no model {model_id!r}; ListModels shows what there is."
    return ServiceError(Reason.MODEL_NOT_FOUND, message, metadata={"model_id": model_id})
