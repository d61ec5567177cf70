"""Answers the RPCs of the area `gallery`: GalleryService (public), ImportService and SourceService (internal)."""

from svc_gallery.servicer.gallery import GalleryServicer
from svc_gallery.servicer.imports import ImportServicer
from svc_gallery.servicer.sources import SourceServicer

__all__ = ["GalleryServicer", "ImportServicer", "SourceServicer"]
