"""Answers the RPCs of the area `models`: ModelService (public) and CatalogueService (internal)."""

from svc_models.servicer.catalogue import CatalogueServicer
from svc_models.servicer.listing import ModelServicer
from svc_models.servicer.reach import ReachLookup
from svc_models.servicer.snapshot import CatalogueSnapshot
from svc_models.servicer.stored_files import StoredFiles

__all__ = ["CatalogueServicer", "CatalogueSnapshot", "ModelServicer", "ReachLookup", "StoredFiles"]
