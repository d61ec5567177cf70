"""Owns how long a copy of everything of an account lives, where its zip lies, and what a reader of it is told."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from svc_common.object_keys import account_prefix

EXPORT_LIFETIME: Final = timedelta(days=3)
"""Of the zip and of the address that is mailed. S3 signs for a week at most, and the mail may be a day late."""
REST: Final = timedelta(days=1)
"""How long after a copy became ready no other is made: it reads all that there is."""
MEMORY: Final = timedelta(days=30)
"""How long it is known that there was a copy."""
LEASE: Final = timedelta(minutes=2)
"""How long an attempt goes without a sign of life before another begins."""
PAUSE: Final = timedelta(minutes=10)
"""How long an attempt is put off when a service or the store was away."""
MOST_ATTEMPTS: Final = 10
MOST_PICTURE_BYTES: Final = 64 * 1024**3
"""S3 takes 10,000 parts of an object, and our parts are of 8 MiB."""
DOWNLOAD_LIFETIME: Final = timedelta(hours=1)
"""Of the address that is given to who asks for it; a new one is had at any time."""

FILE_NAME: Final = "pingvas-account-{day}.zip"
README_NAME: Final = "README.txt"


class AccountExportState(StrEnum):
    """The states of a copy as the table has them; it is over when its time is."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"
    EXPIRED = "expired"


def zip_key(account_id: UUID, export_id: UUID, attempt: int) -> str:
    """Returns where an attempt puts its zip. Each has a place of its own, so that a late one overwrites nothing."""
    return f"{account_prefix(account_id)}/account-exports/{export_id}/{attempt}.zip"


def zip_keys(account_id: UUID, export_id: UUID, attempt: int) -> list[str]:
    """Returns where the attempts up to one may have put something."""
    return [zip_key(account_id, export_id, each) for each in range(1, attempt + 1)]


def is_current(state: AccountExportState, ready_time: datetime | None, now: datetime) -> bool:
    """Returns whether a copy is what somebody gets who asks for one now: it is being made, or it is of today."""
    if state is AccountExportState.READY and ready_time is not None:
        return now - ready_time < REST
    return state is AccountExportState.PENDING


def readme(day: str, image_count: int, left_out_count: int) -> str:
    """Returns what the zip says of itself, in English and in Korean."""
    return _README.format(day=day, image_count=image_count, left_out_count=left_out_count)


_README: Final = """\
Your data at Pingvas Studio, as it was on {day} (UTC)

account/   your profile, sessions, linked accounts, API keys, and what was done to your account
credits/   every movement of your credits, what you received, your plan, invoices and notices
jobs/      every job with what you asked for, your webhooks and what was sent to them
gallery/   boards and what lies in them, templates and styles, links that you shared
models/    the LoRAs that you have uploaded
pictures/  each picture as ID.png, what is known of it as ID.json; also pictures in the bin

Pictures with their files: {image_count}. Without: {left_out_count}; they were deleted meanwhile, or the zip was full. Those
that are still in your gallery can be exported there.

All .json files are text in UTF-8 with the names that the API uses. Times are UTC; amounts are credits.
Your password, tokens and the secrets of keys, webhooks and shared links aren't in here: we keep no readable copy of most of
them, and none should lie in a file. Keep this file to yourself.

----

Pingvas Studio에 보관된 내 데이터 ({day} UTC 기준)

account/   프로필, 세션, 연결된 계정, API 키, 계정 기록
credits/   크레딧의 모든 변동과 받은 내역, 요금제, 청구서, 알림
jobs/      요청 내용이 담긴 모든 작업, 웹훅과 전송 기록
gallery/   보드와 보드에 담긴 그림, 템플릿과 스타일, 공유 링크
models/    업로드한 LoRA
pictures/  그림은 ID.png, 그림의 정보는 ID.json. 휴지통의 그림도 포함됩니다.

파일이 담긴 그림: {image_count}개. 담기지 않은 그림: {left_out_count}개. 만드는 동안 삭제되었거나 용량 한도를 넘은 그림이며,
갤러리에 남아 있다면 갤러리에서 내보낼 수 있습니다.

.json 파일은 UTF-8 텍스트이며 API와 같은 이름을 씁니다. 시각은 UTC, 금액은 크레딧입니다.
비밀번호와 토큰, 키·웹훅·공유 링크의 비밀 값은 들어 있지 않습니다. 이 파일을 다른 사람에게 주지 마세요.
"""
