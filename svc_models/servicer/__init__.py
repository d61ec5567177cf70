"""Answers the RPCs of the area `models`: ModelService and LoraService (public); the others are internal."""

from svc_models.servicer.account_data import LoraDataServicer
from svc_models.servicer.catalogue import CatalogueServicer
from svc_models.servicer.erasure import LoraErasureServicer
from svc_models.servicer.listing import ModelServicer
from svc_models.servicer.loras import LoraServicer
from svc_models.servicer.own_models import OwnModels
from svc_models.servicer.snapshot import CatalogueSnapshot
from svc_models.servicer.stored_files import StoredFiles

__all__ = [
    "CatalogueServicer",
    "CatalogueSnapshot",
    "LoraDataServicer",
    "LoraErasureServicer",
    "LoraServicer",
    "ModelServicer",
    "OwnModels",
    "StoredFiles",
]
