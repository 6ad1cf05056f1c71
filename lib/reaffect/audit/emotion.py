"""What is left for emotion: how well a small probe tells who won from face, voice and words, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from reaffect import faces
from reaffect.audit.estimates import Estimate, Row, ranking
from reaffect.audit.faces import face_embeddings, face_landmarks
from reaffect.audit.voices import Turns, prosody
from reaffect.errors import InputError
from reaffect.features.text import Sentences
from reaffect.speech import Recogniser
from reaffect.stats import percentile_interval
from reaffect.store import Store

FOLDS = 5
REPEATS = 5
"""Of the cross-validation, each with other folds; a clip's score is their mean."""

PENALTY = 0.1
"""scikit-learn's C: strong, for some tens of clips and as many features or more. Never tuned."""


class Features(NamedTuple):
    """One modality's features (clips, width); NaN where a clip has none."""

    before: np.ndarray
    after: np.ndarray


def emotion_features(
    originals: Sequence[str],
    deidentified: Sequence[str],
    turns: Turns | None,
    recogniser: Recogniser,
    sentences: Sentences,
    *,
    frames: int = 8,
    store: Store | None = None,
) -> dict[str, Features]:
    """What the probes see, computed in the same way before and after.

    - `face`: mean and spread over frames of `faces.action_units`, from the faces that MediaPipe's mesh still finds.
    - `face's place`: dlib's embedding where the original's face was, found or not.
    - `voice`: `voices.Prosody` of the speaker's turns.
    - `words`: the embedded transcript of the whole sound.
    """
    heard = recogniser([*originals, *deidentified])
    texts = [[heard[str(clip)] for clip in clips] for clips in (originals, deidentified)]
    return {
        "face": Features(*(_expressions(face_landmarks(c, frames, store)) for c in (originals, deidentified))),
        "face's place": Features(*face_embeddings(originals, deidentified, frames, store)),
        "voice": Features(*prosody(originals, deidentified, turns, store)),
        "words": Features(*(sentences(part) for part in texts)),
    }


def emotion_left(features: Mapping[str, Features], positive: Sequence[bool], subjects: Sequence) -> list[Row]:
    """Area under the ROC curve of a probe that tells positive from negative clips, on subjects it did not see.

    The probe is a logistic regression on standardised features, trained and tested on the same version of the clips:
    before on originals, after on de-identified ones. A clip that lacks features gets the training clips' means.

    Args:
        features: by modality, see `emotion_features`.
        positive: the label of each clip.
        subjects: n names; clips of one subject are never in training and test at once.

    Returns:
        A row a modality; 0.5 is chance.

    Raises:
        InputError: lengths differ, or a label occurs with fewer than two subjects.
    """
    positive, subjects = _checked(features, positive, subjects)
    return [
        _row(name, pair, *(ranking(positive, cross_validated(x, positive, subjects), subjects) for x in pair))
        for name, pair in features.items()
    ]


def emotion_shuffled(
    features: Mapping[str, Features],
    positive: Sequence[bool],
    subjects: Sequence,
    *,
    shuffles: int = 20,
    seed: int = 0,
) -> list[Row]:
    """As `emotion_left` with the labels shuffled among the clips: must land at 0.5.

    Returns:
        A row a modality: the mean over shuffles, and the middle 95 % of them instead of an interval over subjects.
    """
    positive, subjects = _checked(features, positive, subjects)
    rng = np.random.default_rng(seed)
    labels = [rng.permutation(positive) for _ in range(shuffles)]

    def spread(x: np.ndarray) -> Estimate:
        values = np.array([roc_auc_score(label, cross_validated(x, label, subjects, repeats=1)) for label in labels])
        return Estimate(float(values.mean()), *percentile_interval(values))

    return [_row(f"{name}, labels shuffled", pair, *map(spread, pair)) for name, pair in features.items()]


# so small a fit is faster on one thread
@threadpool_limits.wrap(limits=1)
def cross_validated(
    features: np.ndarray, positive: np.ndarray, subjects: np.ndarray, *, repeats: int = REPEATS
) -> np.ndarray:
    """Log odds (clips,) that a clip is positive, from probes that saw none of its subject's clips."""
    scores = np.zeros(len(positive))
    folds = min(FOLDS, len(np.unique(subjects)))
    for seed in range(repeats):
        for train, test in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(
            features, positive, subjects
        ):
            if len(np.unique(positive[train])) == 2:  # else nothing can be learnt: even odds
                scores[test] += _probe().fit(features[train], positive[train]).decision_function(features[test])
    return scores / repeats


def _probe():
    return make_pipeline(
        SimpleImputer(keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=1000),
    )


def _checked(
    features: Mapping[str, Features], positive: Sequence[bool], subjects: Sequence
) -> tuple[np.ndarray, np.ndarray]:
    positive, subjects = np.asarray(positive, bool), np.asarray(subjects)
    lengths = {len(x) for pair in features.values() for x in pair} | {len(positive), len(subjects)}
    if len(lengths) > 1:
        raise InputError(f"Features, labels and subjects must be of the same clips; there are {sorted(lengths)} rows.")
    if min(len(np.unique(subjects[positive])), len(np.unique(subjects[~positive]))) < 2:
        raise InputError("A probe needs positive and negative clips of at least two subjects each. Add clips.")
    return positive, subjects


def _row(name: str, pair: Features, before: Estimate, after: Estimate) -> Row:
    known = int((~np.isnan(pair.after).all(1)).sum())
    return Row(f"emotion from {name} (area under the ROC curve)", before, after, 0.5, known)


def _expressions(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks (clips, frames, 936) -> means and spreads of action units over the frames with a face (clips, 54)."""
    found = [clip[~np.isnan(clip[:, 0])].reshape(-1, faces.POINTS, 2) for clip in landmarks]
    width = len(faces.ACTION_UNITS) + len(faces.EXPRESSIONS) + 1
    units = [faces.action_units(clip) for clip in found]
    return np.stack([np.append(u.mean(0), u.std(0)) if len(u) else np.full(2 * width, np.nan) for u in units])
