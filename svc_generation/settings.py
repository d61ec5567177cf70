"""The settings of svc_generation."""

from pydantic import Field

from svc_common.settings import PictureSettings, ServiceSettings, neighbour


class GenerationSettings(ServiceSettings, PictureSettings):
    """The settings of svc_generation."""

    payment_internal_address: str = neighbour("payment")
    gallery_internal_address: str = neighbour("gallery")
    models_internal_address: str = neighbour("models")
    user_internal_address: str = neighbour("user")
    lease_seconds: float = Field(default=30.0, gt=0, description="how long a worker's claim lasts without renewal")
    job_lifetime_hours: float = Field(
        default=24.0, gt=0, description="how long a job may take from acceptance to end before it is given up"
    )
    webhooks_to_private_addresses: bool = Field(
        default=False,
        description="whether webhooks may go to private addresses, and over http: for one's own machine, never for strangers",
    )
    scaler_address: str = Field(
        default="",
        pattern=r"^$|^[A-Za-z0-9.\-\[\]:]+:\d{1,5}$",
        description="where KEDA's external scaler is served, as host:port, to whoever reaches it; empty: nowhere",
    )
    worker_idle_seconds: float = Field(
        default=300.0, gt=0, description="how long workers are kept when nothing is left to do"
    )
    worker_start_seconds: float = Field(
        default=120.0, gt=0, description="how long a new worker takes to its first work, until that was measured"
    )
