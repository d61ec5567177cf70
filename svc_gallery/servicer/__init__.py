"""Answers the RPCs of the area `gallery`: GalleryService (public) and ImportService (internal)."""

from svc_gallery.servicer.gallery import GalleryServicer
from svc_gallery.servicer.imports import ImportServicer

__all__ = ["GalleryServicer", "ImportServicer"]
