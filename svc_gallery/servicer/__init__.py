"""Answers the RPCs of the area `gallery`: those for people, and those for other services."""

from svc_gallery.servicer.account_data import GalleryDataServicer
from svc_gallery.servicer.boards import BoardServicer
from svc_gallery.servicer.erasure import GalleryErasureServicer
from svc_gallery.servicer.exports import ExportServicer
from svc_gallery.servicer.gallery import GalleryServicer
from svc_gallery.servicer.imports import ImportServicer
from svc_gallery.servicer.library import LibraryServicer
from svc_gallery.servicer.lineage import LineageServicer
from svc_gallery.servicer.link_passwords import LinkPasswords
from svc_gallery.servicer.presets import Filler, PresetServicer
from svc_gallery.servicer.sharing import SharingServicer
from svc_gallery.servicer.shipped_templates import ShippedTemplates
from svc_gallery.servicer.sources import SourceServicer
from svc_gallery.servicer.storage import StorageServicer
from svc_gallery.servicer.templates import TemplateServicer

__all__ = [
    "BoardServicer",
    "ExportServicer",
    "Filler",
    "GalleryDataServicer",
    "GalleryErasureServicer",
    "GalleryServicer",
    "ImportServicer",
    "LibraryServicer",
    "LineageServicer",
    "LinkPasswords",
    "PresetServicer",
    "SharingServicer",
    "ShippedTemplates",
    "SourceServicer",
    "StorageServicer",
    "TemplateServicer",
]
