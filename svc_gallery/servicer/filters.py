"""Reads the filters of a list of pictures out of a request."""

from datetime import UTC, datetime
from uuid import UUID

from pingvas.gallery.v1 import gallery_service_pb2

from svc_gallery.domain.images import ImageFilter
from svc_gallery.domain.search import search_query


def image_filter(request: gallery_service_pb2.ListImagesRequest, account_id: UUID) -> ImageFilter:
    """Returns which pictures of an account a request lists.

    Raises:
        ServiceError: INVALID_FIELD, when there is nothing to search for in `query`.
    """

    def time(name: str) -> datetime | None:
        return getattr(request, name).ToDatetime(UTC) if request.HasField(name) else None  # type: ignore[arg-type]

    return ImageFilter(
        job_id=UUID(request.job_id) if request.job_id else None,
        search=search_query(account_id, request.query, request.tag),
        starred_only=request.starred_only,
        model_id=request.model_id,
        min_rating=request.min_rating,
        create_time_from=time("create_time_from"),
        create_time_until=time("create_time_until"),
        in_bin=request.in_bin,
        board_id=UUID(request.board_id) if request.board_id else None,
        uncategorised=request.uncategorised,
    )
