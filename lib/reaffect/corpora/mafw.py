"""MAFW: clips of films and series with eleven expressions, single and compound, in five folds (Omni-Emotion, Table 5).

- `split/` or `Train & Test Set/`, and in it `single/` or `compound/`, `no_caption/set_1/train.txt` and `test.txt`:
  `00025.mp4 anger`, no header; compound labels are joined, `anger_disgust`. Mapped by name: peers number them
  differently.
- `with_caption/` beside `no_caption/`: `clip, label, Chinese, English`, parted by tabs. Neutral clips have none in the
  release. Its files are not all UTF-8; then they are read as GB 18030 (not verified).
- clips in `data/clips/`. Some have no audio track: `expressions.without_audio` finds them.

Nobody publishes who is seen, so there is no subject.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from reaffect.corpora import expressions, folds, mer, tables
from reaffect.errors import InputError

CLASSES = expressions.classes("mafw")

FOLDS = 5

KINDS = ("single", "compound")

SPLITS = ("split", "Train & Test Set")
"""What the folder of folds is called."""

PLACES = ("data/clips", "clips", "video", "videos", "mp4", "data/frames", "frames")
"""Where clips lie, in the order tried."""

SINGLE = ((7333, 1839), (7335, 1837), (7339, 1833), (7340, 1832), (7341, 1831))
COMPOUND = ((7178, 1818), (7187, 1809), (7198, 1798), (7208, 1788), (7213, 1783))

PUBLISHED = {
    "clips": 10045,
    "clips without audio": 21,
    **{
        f"{kind} fold {fold} {part}": size
        for kind, folds in zip(KINDS, (SINGLE, COMPOUND), strict=True)
        for fold, sizes in enumerate(folds, 1)
        for part, size in zip(("train", "test"), sizes, strict=True)
    },
}
"""The number of clips is the paper's; those of the folds are not printed there, but counted by users in the release."""


def load(
    root: str | Path,
    fold: int = 1,
    *,
    kind: str = "single",
    language: str = "english",
    folder: str | None = None,
    strict: bool = True,
) -> pd.DataFrame:
    """Reads one fold.

    Args:
        root: the folder with `split/` or `Train & Test Set/`, and the clips.
        fold: 1 to 5.
        kind: single or compound labels. The folds of the two differ.
        language: of the captions, english or chinese. Neither stands in for the other.
        folder: of the clips, under `root`; by default the first that is there of `PLACES`.
        strict: a missing clip, or a label that cannot be read, is an error; otherwise the clip is left out and listed
            in `table.attrs["problems"]`.

    Returns:
        One row a clip, those to train on first: `clip` (id without leading zeros), `split` (train or test), `media`
        (path), `labels` (list of `CLASSES`, of compound labels one or more), `text` (caption, empty where there is
        none). `attrs` also has `fold`, `kind`, and in `counts` how many are `without caption`.

    Raises:
        InputError: names the file, the clip and the mend; a clip is in both parts of the fold.
    """
    root = folds.open_root(root, "MAFW")
    mer.check_language(language)
    table, problems = _read(root, kind, fold)
    tables.refuse(problems, strict=strict)
    table = table[~table["clip"].isin(problems)]
    place = root / folder if folder else folds.place_of(root, PLACES)
    table, missing = folds.with_media(table, folds.media_files(place), place, strict=strict)
    captions = _captions(root, kind, fold, language)
    table = table.assign(text=[captions.get(clip, "") for clip in table["clip"]])
    columns = ("clip", "split", "media", "labels", "text")
    counts = {"without caption": int((table.text == "").sum())}
    return folds.finished(table, columns, problems=problems | missing, fold=fold, kind=kind, counts=counts)


def check(root: str | Path) -> pd.DataFrame:
    """The number of clips, of those without an audio track, and the sizes of the folds, beside the published ones.

    Raises:
        InputError: a file of a fold is missing, or a video cannot be read.
    """
    root = folds.open_root(root, "MAFW")
    files = folds.media_files(folds.place_of(root, PLACES))
    silent = expressions.without_audio(pd.DataFrame({"clip": list(files), "media": list(files.values())}))
    found = {"clips": len(files), "clips without audio": len(silent)}
    for kind in KINDS:
        for fold in range(1, FOLDS + 1):
            sizes = _read(root, kind, fold)[0].split.value_counts()
            found |= {f"{kind} fold {fold} {part}": int(sizes[part]) for part in sizes.index}
    return expressions.compared(found, PUBLISHED)


def labels_of(cell: str) -> list[str]:
    """The classes of a cell, joined by `_` where they are several, each once.

    Raises:
        InputError: one of them is none of `CLASSES`.

    >>> labels_of("anger_disgust")
    ['angry', 'disgust']
    """
    return list(dict.fromkeys(expressions.class_of(name, CLASSES) for name in cell.split("_")))


def _read(root: Path, kind: str, fold: int) -> tuple[pd.DataFrame, dict[str, str]]:
    """Both parts of a fold, and by clip what is wrong with its labels."""
    folds.check_fold(fold, FOLDS)
    if kind not in KINDS:
        raise InputError(f"kind {kind!r}: there are {' and '.join(KINDS)}.")
    parts, problems = {}, {}
    for split in ("train", "test"):
        names = [f"{place}/{kind}/no_caption/set_{fold}/{split}.txt" for place in SPLITS]
        file = folds.first_file(root, names, absent="The official release has it: fetch it again.")
        parts[split], wrong = folds.read_part(_rows(file), file, labels_of)
        if kind == "single":
            several = parts[split][parts[split].labels.str.len() > 1]
            wrong |= {
                clip: f"{file}: clip {clip!r} has the labels {', '.join(labels)}, and one is expected. Pass "
                "kind='compound' for the compound folds."
                for clip, labels in zip(several["clip"], several.labels, strict=True)
            }
        problems |= wrong
    return folds.joined(parts), problems


def _rows(file: Path) -> list[tuple[int, str, str]]:
    """Line, clip and label of each row."""
    rows = []
    for number, line in folds.lines_of(file):
        words = line.split()
        if len(words) != 2:
            raise InputError(f"{file}, line {number}: {line!r}; expected are a clip and a label. Fetch it again.")
        rows.append((number, *words))
    return rows


def _captions(root: Path, kind: str, fold: int, language: str) -> dict[str, str]:
    """By clip, the captions of a fold; none where the release's files are not there."""
    found = {}
    for split in ("train", "test"):
        names = [f"{place}/{kind}/with_caption/set_{fold}/{split}.txt" for place in SPLITS]
        for file in (root / name for name in names if (root / name).is_file()):
            found |= _read_captions(file, language)
    return found


def _read_captions(file: Path, language: str) -> dict[str, str]:
    found = {}
    for number, line in folds.lines_of(file, ("utf-8-sig", "gb18030")):
        cells = line.split("\t")
        if len(cells) != 4:
            raise InputError(
                f"{file}, line {number}: {len(cells)} cells; expected are clip, label, Chinese and English, parted by "
                "tabs. Fetch it again."
            )
        found[tables.clip_id(cells[0])] = cells[2 if language == "chinese" else 3].strip()
    return found
