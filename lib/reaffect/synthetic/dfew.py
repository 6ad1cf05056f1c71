"""The embedded DFEW: people who do not exist, seven classes, in DFEW's own layout, truth planted.

`EmoLabel_DataSplit/{train,test}(single-labeled)/set_{1..5}.csv` with DFEW's numbers of classes, and
`Clip/original/<number>.mp4`. `planted.json` has of each clip what carries its class (`expressions.CARRIERS`), and the
best attainable accuracy for one who knows the scene, the voice too, and the face too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from reaffect.synthetic import building, expression_clips, expressions
from reaffect.synthetic.expressions import Clip, Recipe

CLASSES = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
"""In the order of DFEW's numbers 1 to 7."""

CORPUS = 41
"""Sets its draws apart from those of the other corpora."""


def build(
    root: str | Path,
    *,
    people: int = Recipe.people,
    seed: int = Recipe.seed,
    uninformative: Sequence[str] = (),
    workers: int = 2,
) -> Path:
    """Builds `dfew/` under `root`, or returns at once if it is there and unchanged; a killed build goes on.

    Args:
        root: the folder of corpora.
        people: a multiple of 5, as many in each fold; of 15, so that each fold tests every class by every carrier
            equally often. Each of them shows all seven classes.
        seed: of every draw; the same recipe gives the same bytes.
        uninformative: carriers that tell nothing; the folder is then called `dfew_without_<carrier>`, and all else in
            it is as in `dfew`.
        workers: processes.

    Returns:
        The corpus's folder.

    Raises:
        InputError: a number of people that is no multiple of 5, or an unknown carrier.
    """
    recipe = Recipe(people, seed, tuple(uninformative))
    folder = Path(root) / recipe.folder("dfew")
    clips = plan(folder, recipe)
    return expression_clips.build(folder, recipe, clips, _write_tables, code=__file__, workers=workers)


def plan(folder: Path, recipe: Recipe) -> list[Clip]:
    """The clips to film, by number."""
    videos = folder / "Clip" / "original"
    return expressions.plan(recipe, CLASSES, lambda number: videos / f"{number}.mp4", corpus=CORPUS)


def _write_tables(folder: Path, clips: Sequence[Clip]) -> None:
    for fold, part, own in expressions.folds(clips):
        file = folder / "EmoLabel_DataSplit" / f"{part}(single-labeled)" / f"set_{fold}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        labels = [1 + CLASSES.index(clip.classes[0]) for clip in own]
        table = pd.DataFrame({"video_name": [clip.number for clip in own], "label": labels})
        building.write_aside(file, table.to_csv(index=False))
