"""The embedded MAFW: people who do not exist, eleven classes and compounds of two, in MAFW's own layout, truth planted.

`split/{single,compound}/{no_caption,with_caption}/set_{1..5}/{train,test}.txt` and `data/clips/<number>.mp4`. As in the
official release, the compound splits have the single classes too, and neutral clips have no captions. `planted.json` is
as in the embedded DFEW. Captions say what an annotator could notice, and what it suggests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from reaffect.synthetic import building, expression_clips, expressions
from reaffect.synthetic.expressions import CODES, NEUTRAL, Clip, Recipe

CLASSES = tuple(CODES)

COMPOUNDS = (
    ("anger", "disgust"),
    ("sadness", "helplessness"),
    ("fear", "surprise"),
    ("surprise", "anxiety"),
    ("fear", "anxiety"),
    ("disgust", "contempt"),
    ("happiness", "surprise"),
    ("sadness", "anxiety"),
    ("anxiety", "helplessness"),
    ("disgust", "anxiety"),
)

SILENT = 3
"""Clips without an audio track; MAFW has 21 of them."""

CORPUS = 42
"""Sets its draws apart from those of the other corpora."""

CHINESE = {
    "anger": "愤怒",
    "disgust": "厌恶",
    "fear": "恐惧",
    "happiness": "高兴",
    "sadness": "悲伤",
    "surprise": "惊讶",
    "contempt": "轻蔑",
    "anxiety": "焦虑",
    "helplessness": "无助",
    "disappointment": "失望",
}

CURTAINS = {
    "grey": ("grey curtains", "灰色窗帘"),
    "red": ("red curtains", "红色窗帘"),
    "blue": ("blue curtains", "蓝色窗帘"),
    "yellow": ("yellow curtains", "黄色窗帘"),
    "green": ("green curtains", "绿色窗帘"),
}
HANDS = {0: ("lowered hands", "双手放下"), 1: ("one raised hand", "举起一只手"), 2: ("raised hands", "举起双手")}
PITCH = {-1: ("low", "低沉"), 1: ("high", "高亢")}
RATE = {-1: ("slow", "缓慢"), 1: ("fast", "急促")}
LOUDNESS = {-1: ("soft", "轻柔"), 1: ("loud", "响亮")}
MOUTH = {
    "smile": ("the corners of the mouth rise", "嘴角上扬"),
    "frown": ("the corners of the mouth drop", "嘴角下垂"),
    "open": ("the mouth opens", "嘴巴张开"),
}
BROWS = {"raised": ("the brows rise", "眉毛扬起"), "lowered": ("the brows draw together", "眉头紧锁")}
"""What a caption calls it, in English and in Chinese."""


def build(
    root: str | Path,
    *,
    people: int = Recipe.people,
    seed: int = Recipe.seed,
    uninformative: Sequence[str] = (),
    workers: int = 2,
) -> Path:
    """Builds `mafw/` under `root`, or returns at once if it is there and unchanged; a killed build goes on.

    Args:
        root: the folder of corpora.
        people: a multiple of 5, as many in each fold; of 15, so that each fold tests every class by every carrier
            equally often. Each of them shows all eleven classes, and one compound by two carriers.
        seed: of every draw; the same recipe gives the same bytes.
        uninformative: carriers that tell nothing; the folder is then called `mafw_without_<carrier>`, and all else in
            it is as in `mafw`.
        workers: processes.

    Returns:
        The corpus's folder.

    Raises:
        InputError: a number of people that is no multiple of 5, or an unknown carrier.
    """
    recipe = Recipe(people, seed, tuple(uninformative))
    folder = Path(root) / recipe.folder("mafw")
    clips = plan(folder, recipe)
    return expression_clips.build(folder, recipe, clips, _write_tables, code=__file__, workers=workers)


def plan(folder: Path, recipe: Recipe) -> list[Clip]:
    """The clips to film, by number."""
    videos = folder / "data" / "clips"
    return expressions.plan(
        recipe, CLASSES, lambda number: videos / f"{number:05d}.mp4", corpus=CORPUS, compounds=COMPOUNDS, silent=SILENT
    )


def caption(clip: Clip) -> tuple[str, str]:
    """What an annotator would write of a clip that is not neutral, in Chinese and in English."""
    english, chinese = [], []
    for carrier, shown in zip(expressions.CARRIERS, clip.shown, strict=True):
        if shown != NEUTRAL:
            clue, zh_clue = CLUES[carrier](shown)
            english.append(f"{clue[0].upper()}{clue[1:]}.")
            chinese.append(f"{zh_clue}，")
    english.append(f"The person seems to feel {' and '.join(clip.classes)}.")
    chinese.append(f"此人显得{'和'.join(CHINESE[felt] for felt in clip.classes)}。")
    return "".join(chinese), " ".join(english)


def _scene(shown: str) -> tuple[str, str]:
    curtains, hands = CODES[shown].scene
    (curtain, zh_curtain), (hand, zh_hand) = CURTAINS[curtains], HANDS[hands]
    return f"{hand} between {curtain}", f"{zh_curtain}之间{zh_hand}"


def _voice(shown: str) -> tuple[str, str]:
    pitch, rate, loudness = CODES[shown].voice
    words = [names[level] for names, level in ((PITCH, pitch), (RATE, rate), (LOUDNESS, loudness)) if level]
    english, chinese = zip(*words, strict=True)
    return f"the voice is {_listed(english)}", f"声音{'、'.join(chinese)}"


def _face(shown: str) -> tuple[str, str]:
    mouth, brows = CODES[shown].face
    moved = [names[what] for names, what in ((MOUTH, mouth), (BROWS, brows)) if what in names]
    english, chinese = zip(*moved, strict=True)
    return _listed(english), "、".join(chinese)


def _listed(words: Sequence[str]) -> str:
    """One, one and two, or one, two and three."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


CLUES: dict[str, Callable[[str], tuple[str, str]]] = {"scene": _scene, "voice": _voice, "face": _face}
"""By carrier: a class that is shown -> what is to be noticed, in English and in Chinese."""


def _write_tables(folder: Path, clips: Sequence[Clip]) -> None:
    single = [clip for clip in clips if len(clip.classes) == 1]
    for kind, pool in (("single", single), ("compound", clips)):
        for fold, part, own in expressions.folds(pool):
            bare = "".join(f"{clip.file.name} {'_'.join(clip.classes)}\n" for clip in own)
            told = "".join(
                "\t".join([clip.file.name, "_".join(clip.classes), *caption(clip)]) + "\n"
                for clip in own
                if clip.classes != (NEUTRAL,)
            )
            for captions, text in (("no_caption", bare), ("with_caption", told)):
                file = folder / "split" / kind / captions / f"set_{fold}" / f"{part}.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                building.write_aside(file, text)
