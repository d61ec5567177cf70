"""Makes messages: a valid request for each public method, and answers in which every field holds something."""

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.gallery.v1 import gallery_service_pb2
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from pingvas.models.v1 import model_service_pb2
from pingvas.payment.v1 import credit_service_pb2
from pingvas.user.v1 import auth_service_pb2, user_service_pb2

JOB_ID = "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11"
IMAGE_ID = "01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a12"

_TEXT_TO_IMAGE = job_pb2.TextToImage(
    prompt="a fishing boat, „blue“ & white 🚤",
    negative_prompt="100 % fog",
    width_px=512,
    height_px=384,
    step_count=20,
    guidance_scale=0.0,
    seed=9007199254740991,
    image_count=2,
)

_SOURCE = job_pb2.ImageSource(upload_id=IMAGE_ID)
_MASK = job_pb2.ImageSource(image_id=IMAGE_ID)
_LORA = job_pb2.LoraWeight(model_id="ink-lines", weight=-0.5)

_OPERATIONS: dict[str, Message] = {
    "text_to_image": _TEXT_TO_IMAGE,
    "image_to_image": job_pb2.ImageToImage(prompt="a heron", source=_SOURCE, strength=0.25, loras=[_LORA], seed=0),
    "inpaint": job_pb2.Inpaint(prompt="a heron", source=_SOURCE, mask=_MASK, mask_feather_px=0),
    "upscale": job_pb2.Upscale(source=_MASK, scale_factor=4),
}

_REQUESTS: dict[str, Message] = {
    "AuthService.Register": auth_service_pb2.RegisterRequest(email="ada@example.com", password="correct horse"),
    "AuthService.Login": auth_service_pb2.LoginRequest(email="ada@example.com", password="correct horse"),
    "AuthService.Refresh": auth_service_pb2.RefreshRequest(refresh_token="once"),
    "AuthService.Logout": auth_service_pb2.LogoutRequest(refresh_token="once"),
    "AuthService.GetJwks": auth_service_pb2.GetJwksRequest(),
    "UserService.GetMe": user_service_pb2.GetMeRequest(),
    "UserService.UpdateMe": user_service_pb2.UpdateMeRequest(display_name="Ada"),
    "CreditService.GetBalance": credit_service_pb2.GetBalanceRequest(),
    "CreditService.ListTransactions": credit_service_pb2.ListTransactionsRequest(page_size=7, page_token="a/b+c=="),
    "GenerationService.QuoteJob": generation_service_pb2.QuoteJobRequest(text_to_image=_TEXT_TO_IMAGE),
    "GenerationService.CreateJob": generation_service_pb2.CreateJobRequest(
        request_id="request 1", text_to_image=_TEXT_TO_IMAGE
    ),
    "GenerationService.GetJob": generation_service_pb2.GetJobRequest(job_id=JOB_ID),
    "GenerationService.ListJobs": generation_service_pb2.ListJobsRequest(
        page_size=3, states=[job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING]
    ),
    "GenerationService.CancelJob": generation_service_pb2.CancelJobRequest(job_id=JOB_ID),
    "GenerationService.WatchJob": generation_service_pb2.WatchJobRequest(job_id=JOB_ID, after="4-12"),
    "GenerationService.WatchJobs": generation_service_pb2.WatchJobsRequest(after="4"),
    "GenerationService.GetQueueStatus": generation_service_pb2.GetQueueStatusRequest(),
    "ModelService.ListModels": model_service_pb2.ListModelsRequest(page_size=200),
    "ModelService.GetModel": model_service_pb2.GetModelRequest(model_id="pingvas-tiny"),
    "GalleryService.ListImages": gallery_service_pb2.ListImagesRequest(job_id=JOB_ID),
    "GalleryService.CreateUpload": gallery_service_pb2.CreateUploadRequest(
        request_id="request 1", content_type="image/webp", size_bytes=33554432
    ),
    "GalleryService.GetImage": gallery_service_pb2.GetImageRequest(image_id=IMAGE_ID),
}

_SCALARS = {
    FieldDescriptor.CPPTYPE_STRING: 'text „with“ "quotes"',
    FieldDescriptor.CPPTYPE_BOOL: True,
    FieldDescriptor.CPPTYPE_DOUBLE: 0.1,
    FieldDescriptor.CPPTYPE_FLOAT: 0.5,
    FieldDescriptor.CPPTYPE_INT32: -2147483648,
    # Doesn't fit a double: it must be a string in JSON.
    FieldDescriptor.CPPTYPE_INT64: 9223372036854775807,
}


def request_for(name: str, body: str = "") -> Message:
    """Returns a valid request for the public method `Service.Method`; raises KeyError for one that nobody added here.

    With `body` it is one whose body by HTTP is that field: for a job, one of that operation.
    """
    if body not in _OPERATIONS:
        return _REQUESTS[name]
    request = type(_REQUESTS[name])()
    request.CopyFrom(_REQUESTS[name])
    getattr(request, body).CopyFrom(_OPERATIONS[body])
    return request


def filled(message_class: type[Message]) -> Message:
    """Returns a message with something in every field, and in the last branch of every oneof."""
    message = message_class()
    if isinstance(message, Timestamp):
        message.FromJsonString("2026-07-14T09:30:00.123456Z")
        return message
    for field in _descriptor(message).fields:
        _fill(message, field)
    return message


def _descriptor(message: Message) -> Descriptor:
    return message.DESCRIPTOR


def _fill(message: Message, field: FieldDescriptor) -> None:
    if field.message_type is not None:
        target = getattr(message, field.name)
        (target.add() if field.is_repeated else target).CopyFrom(filled(field.message_type._concrete_class))
        return
    value = _scalar(field)
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _scalar(field: FieldDescriptor) -> object:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"\x00\xff\xfe"
    return _SCALARS[field.cpp_type]
