"""The phrases of Korean captions: the same parts as in `english`, in the order and with the particles of Korean."""

import random
from collections.abc import Mapping, Sequence
from typing import Final

from training.english import Wordings
from training.scenes import Colour, Daytime, Feature, Item, Land, LandScene, ObjectScene, Place, Shape, Size, SkyThing

COLOURS: Final[Mapping[Colour, Sequence[str]]] = {
    Colour.RED: ("빨간", "빨간색", "빨강"),
    Colour.ORANGE: ("주황색", "주황", "오렌지색"),
    Colour.YELLOW: ("노란", "노란색", "노랑"),
    Colour.GREEN: ("초록색", "초록", "녹색"),
    Colour.BLUE: ("파란", "파란색", "파랑"),
    Colour.PURPLE: ("보라색", "보라"),
    Colour.PINK: ("분홍색", "분홍", "핑크색"),
    Colour.BROWN: ("갈색", "밤색"),
    Colour.BLACK: ("검은", "검은색", "검정"),
    Colour.WHITE: ("하얀", "흰색", "하얀색"),
    Colour.GRAY: ("회색",),
    Colour.CYAN: ("청록색", "하늘색"),
}
SHAPES: Final[Mapping[Shape, Sequence[str]]] = {
    Shape.CIRCLE: ("원", "동그라미"),
    Shape.SQUARE: ("사각형", "정사각형", "네모"),
    Shape.TRIANGLE: ("삼각형", "세모"),
    Shape.STAR: ("별",),
    Shape.HEART: ("하트",),
    Shape.RING: ("고리", "링"),
    Shape.DIAMOND: ("마름모", "다이아몬드"),
}
SIZES: Final = {Size.SMALL: ("작은", "조그만"), Size.LARGE: ("큰", "커다란")}
_PLACES: Final = {
    Place.CENTRE: ("가운데", "중앙"),
    Place.LEFT: ("왼쪽",),
    Place.RIGHT: ("오른쪽",),
    Place.TOP: ("위쪽", "윗부분"),
    Place.BOTTOM: ("아래쪽", "아랫부분"),
}
_ENDS: Final = Wordings(
    (*("",) * 8, " 그림", " 그려줘", " 이미지", " 일러스트", " 사진", " 만들어줘"),
    ("", " 그려 주세요", " 포스터", " 보여줘"),
)
_TAILS: Final = Wordings(
    (*("",) * 12, ", 아름다운", ", 미니멀", ", 고화질", ", 심플한 스타일", ", 플랫 디자인", ", 4k"),
    ("", "", ", 고화질, 미니멀"),
)
_SINGLE: Final = Wordings(
    (
        *("{background} 배경에 {object}",) * 3,
        "{background} 배경 위의 {object}",
        "{background} 배경 위에 {object}",
        "{background} 배경에 있는 {object}",
        "{object}, {background} 배경",
        "{object}, 배경은 {background}",
        "{background} 배경, {object}",
        "{background} 배경에 {subject} 있는",
    ),
    ("{background} 배경과 {object}", "{object} 그리고 {background} 배경", "배경은 {background}, {object}"),
)
_PAIR: Final = Wordings(
    (
        *("{background} 배경에 {pair}",) * 3,
        "{background} 배경 위에 {pair}",
        "{pair}, {background} 배경",
        "{background} 배경, {pair}",
        "{pair}, 배경은 {background}",
    ),
    ("{background} 배경 위의 {pair}", "배경은 {background}, {pair}"),
)
_BESIDE: Final = Wordings(
    (
        "왼쪽에 {first}, 오른쪽에 {second}",
        "왼쪽에 {first}, 오른쪽에 {second}",
        "왼쪽에는 {first}, 오른쪽에는 {second}",
        "{second} 왼쪽에 {first}",
        "{second} 왼쪽에 있는 {first}",
        "{first} 오른쪽에 {second}",
        "{first} 오른쪽에 있는 {second}",
        "{second}의 왼쪽에 {first}",
        "{first}의 오른쪽에 {second}",
        "왼쪽은 {first}, 오른쪽은 {second}",
        "왼쪽: {first}, 오른쪽: {second}",
        "오른쪽에는 {second}, 왼쪽에는 {first}",
        "오른쪽: {second}, 왼쪽: {first}",
    ),
    ("왼쪽 {first}, 오른쪽 {second}", "오른쪽에 {second}, 왼쪽에 {first}"),
)
_STACKED: Final = Wordings(
    (
        "위에 {first}, 아래에 {second}",
        "위쪽에 {first}, 아래쪽에 {second}",
        "{second} 위에 {first}",
        "{second} 위에 있는 {first}",
        "{first} 아래에 {second}",
        "{first} 아래에 있는 {second}",
        "위쪽에는 {first}, 아래쪽에는 {second}",
        "위: {first}, 아래: {second}",
        "아래쪽에 {second}, 위쪽에 {first}",
        "아래는 {second}, 위는 {first}",
    ),
    ("위에는 {first}, 아래에는 {second}", "아래에 {second}, 위에 {first}"),
)
_TOGETHER: Final = ("{first_and} {second}", "{first} 옆에 {second}", "{first_and} {second}")
_LANDS: Final = {
    Land.MOUNTAINS: ("산", "산", "눈 덮인 산", "산맥", "산 풍경"),
    Land.HILLS: ("언덕", "언덕", "완만한 언덕", "언덕 풍경"),
    Land.SEA: ("바다", "바다", "잔잔한 바다", "바다 풍경"),
    Land.DESERT: ("사막", "사막", "모래 사막", "사막 풍경"),
    Land.FOREST: ("숲", "숲", "소나무 숲", "숲 풍경"),
    Land.CITY: ("도시", "도시", "도시 풍경", "도시 스카이라인", "고층 빌딩"),
}
_TIMES: Final = {
    Daytime.DAY: ("낮의", "한낮의", "대낮의", "낮"),
    Daytime.SUNSET: ("해질녘의", "해질녘", "노을 지는", "석양의", "저녁"),
    Daytime.NIGHT: ("밤의", "밤", "한밤의", "한밤중의"),
    Daytime.DAWN: ("새벽의", "새벽", "이른 아침의", "동틀 무렵의"),
}
_THINGS: Final[Mapping[SkyThing | Feature, Sequence[str]]] = {
    SkyThing.SUN: ("해", "태양"),
    SkyThing.MOON: ("달", "보름달"),
    SkyThing.STARS: ("별", "별들"),
    SkyThing.CLOUDS: ("구름",),
    Feature.LAKE: ("호수", "연못"),
    Feature.HOUSE: ("집", "작은 집"),
    Feature.TREE: ("나무",),
}
_LAND: Final = Wordings(
    (
        "{having}{time} {land}",
        "{having}{time} {land}",
        "{time} {land}{tags}",
        "{land}, {time}{tags}",
        "{time} {land}{together}",
        "{time} 시간, {having}{land}",
    ),
    ("{time} 풍경, {having}{land}", "{having}{land}, {time}", "{time} {land} 그리고{tags}"),
)
_LAND_ALONE: Final = ("{having}{land}", "{land}{tags}", "{land}")
_HANGUL_START: Final = 0xAC00
_HANGUL_END: Final = 0xD7A3
_FINALS: Final = 28
_BACKGROUND_ODDS: Final = 0.92
_WHITE_BACKGROUND_ODDS: Final = 0.5
_SIZE_ODDS: Final = 0.85
_PLACE_ODDS: Final = 0.9
_CENTRE_ODDS: Final = 0.12
_ORDER_ODDS: Final = 0.87
_TIME_ODDS: Final = 0.93
_DAY_ODDS: Final = 0.6
_THING_ODDS: Final = 0.8


def say_single(scene: ObjectScene, rng: random.Random, *, held_out: bool) -> str:
    """Returns a caption for a scene of one object."""
    item = scene.items[0]
    words = _object(item, rng)
    odds = _CENTRE_ODDS if item.place is Place.CENTRE else _PLACE_ODDS
    if rng.random() < odds or (held_out and item.place is not Place.CENTRE):
        words = f"{rng.choice(_PLACES[item.place])}에 {rng.choice(('', '있는 '))}{words}"
    template = _SINGLE.choose(rng, held_out=held_out)
    if not held_out and not _names_background(scene, rng):
        template = "{object}"
    background = rng.choice(COLOURS[scene.background])
    text = template.format(object=words, subject=_with(words, "이", "가"), background=background)
    return _finish(text, rng, held_out=held_out)


def say_pair(scene: ObjectScene, rng: random.Random, *, held_out: bool) -> str:
    """Returns a caption for a scene of two objects."""
    first, second = (_object(item, rng) for item in scene.items)
    relation = _BESIDE if scene.items[0].place is Place.LEFT else _STACKED
    template = relation.choose(rng, held_out=held_out)
    if not held_out and rng.random() > _ORDER_ODDS:
        template = rng.choice(_TOGETHER)
        if rng.random() < 0.5:
            first, second = second, first
    pair = template.format(first=first, second=second, first_and=_with(first, "과", "와"))
    if held_out or _names_background(scene, rng):
        background = rng.choice(COLOURS[scene.background])
        pair = _PAIR.choose(rng, held_out=held_out).format(pair=pair, background=background)
    return _finish(pair, rng, held_out=held_out)


def say_land(scene: LandScene, rng: random.Random, *, held_out: bool) -> str:
    """Returns a caption for a landscape."""
    things: tuple[SkyThing | Feature, ...] = (*scene.sky, *scene.features)
    named = [
        rng.choice(_THINGS[thing])
        for thing in things
        if rng.random() < _THING_ODDS or (held_out and isinstance(thing, Feature))
    ]
    rng.shuffle(named)
    odds = _DAY_ODDS if scene.daytime is Daytime.DAY else _TIME_ODDS
    template = _LAND.choose(rng, held_out=held_out)
    if not held_out and rng.random() > odds:
        template = rng.choice(_LAND_ALONE)
    listed = " ".join([*(_with(thing, "과", "와") for thing in named[:-1]), *named[-1:]])
    text = template.format(
        land=rng.choice(_LANDS[scene.land]),
        time=rng.choice(_TIMES[scene.daytime]),
        having=f"{_with(listed, '이', '가')} 있는 " if named else "",
        tags="".join(f", {thing}" for thing in named),
        together=f", 그리고 {listed}" if named else "",
    )
    return _finish(text.removesuffix(" 그리고"), rng, held_out=held_out)


def _names_background(scene: ObjectScene, rng: random.Random) -> bool:
    return rng.random() < (_WHITE_BACKGROUND_ODDS if scene.background is Colour.WHITE else _BACKGROUND_ODDS)


def _object(item: Item, rng: random.Random) -> str:
    size = rng.choice(SIZES[item.size]) if item.size in SIZES and rng.random() < _SIZE_ODDS else ""
    words = (size, rng.choice(COLOURS[item.colour]), rng.choice(SHAPES[item.shape]))
    return " ".join(filter(None, words))


def _with(words: str, after_consonant: str, after_vowel: str) -> str:
    """Returns the words with the particle that fits their last sound."""
    last = ord(words[-1])
    closed = _HANGUL_START <= last <= _HANGUL_END and (last - _HANGUL_START) % _FINALS != 0
    return words + (after_consonant if closed else after_vowel)


def _finish(text: str, rng: random.Random, *, held_out: bool) -> str:
    return text + _ENDS.choose(rng, held_out=held_out) + _TAILS.choose(rng, held_out=held_out)
