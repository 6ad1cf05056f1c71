"""Omni-Emotion's Table 5: scores against scikit-learn, torchmetrics and closed forms, on answers of known truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from reaffect import recognition, results
from reaffect.corpora import expressions, mafw
from reaffect.describing import Describer
from reaffect.errors import InputError
from reaffect.synthetic import building, dfew, expression_clips
from reaffect.synthetic import expressions as planted_corpus
from reaffect.synthetic import mafw as planted_mafw
from reaffect.synthetic.expressions import CARRIERS, Recipe

DFEW, MAFW = expressions.classes("dfew"), expressions.classes("mafw")
SYSTEMS = {"v": ("scene",), "v+a": ("scene", "voice"), "v+a+f": CARRIERS}
"""What each row looks at."""


def corpus_table(test: dict[str, str], train: dict[str, str]) -> pd.DataFrame:
    """One fold in the form of `corpora.dfew.load`."""
    rows = [(clip, part, [label]) for part, of in (("train", train), ("test", test)) for clip, label in of.items()]
    return pd.DataFrame(rows, columns=["clip", "split", "labels"])


def random_clips(count: int, *, seed: int = 0, folds: int = 5, among=DFEW) -> pd.DataFrame:
    """Random truths in the form of `recognition.clips_of`."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(among, count)
    names = [str(number) for number in range(1, count + 1)]
    return pd.DataFrame({"clip": names, "fold": 1 + np.arange(count) % folds, "truth": truth})


def guesses(clips: pd.DataFrame, *, row: str = "a", seed: int = 0, among=DFEW, right: float = 0.5) -> pd.DataFrame:
    """Answers that are right for about a share of the clips."""
    rng = np.random.default_rng([seed, 7])
    said = np.where(rng.random(len(clips)) < right, clips.truth, rng.choice([*among, "calm"], len(clips)))
    return recognition.answered(row, clips["clip"], [f"{label}." for label in said], seed=seed)


def values(rows: list[dict]) -> dict[tuple[str, str], float]:
    return {(row["row"], row["column"]): row["value"] for row in rows}


class Stub(Describer):
    """Answers each clip with what its file is called, and notes how it was asked."""

    def __init__(self, *, hears: bool, blind: bool = False):
        self.takes_audio, self.blind, self.asked = hears, blind, []

    def describe_each(self, clips, prompts, **options):
        self.asked.append((list(clips), dict(prompts), options))
        told = [None if self.blind else Path(clip).stem for clip in clips]
        return pd.DataFrame({"text": told}, index=list(clips))


@pytest.mark.parametrize("hears", [True, False])
def test_another_model_is_asked_the_same_about_test_clips_alone(hears):
    folds = {1: corpus_table({"1": "sad", "2": "fear"}, {"3": "sad"}), 2: corpus_table({"3": "angry"}, {"1": "sad"})}
    folds = {fold: one.assign(media=[f"/clips/{label}.mp4" for [label] in one.labels]) for fold, one in folds.items()}
    model, tested = Stub(hears=hears), recognition.clips_of(folds, DFEW)
    told = recognition.untrained(model, "Other", folds, DFEW, frames=8)
    [(clips, prompts, options)] = model.asked
    assert clips == ["/clips/sad.mp4", "/clips/fear.mp4", "/clips/angry.mp4"]
    assert set(prompts.values()) == {recognition.lessons(folds[1], DFEW)[0].question}
    assert options == {"audio": hears, "frames": 8}
    assert set(values(recognition.table_rows(recognition.read(told, tested, DFEW), "DFEW", DFEW)).values()) == {100}
    silent = recognition.untrained(Stub(hears=hears, blind=True), "Other", folds, DFEW)
    assert set(values(recognition.table_rows(recognition.read(silent, tested, DFEW), "DFEW", DFEW)).values()) == {0}


# --- the question --------------------------------------------------------------------------------------------


def test_the_question_is_the_papers_with_options_in_the_corpus_order():
    first, second = recognition.lessons(corpus_table({"1": "sad"}, {"2": "fear"}), DFEW)
    wanted = (
        "As an emotional recognition expert, when you observe the video, what is the primary emotion exhibited by "
        "the characters? happy, sad, neutral, angry, surprise, disgust, fear."
    )
    assert first.question == second.question == wanted
    assert (first.answer, second.answer) == ("fear.", "sad.")  # train stands first
    assert first.frames is None and first.audio is None


@pytest.mark.parametrize("among", [DFEW, MAFW], ids=["dfew", "mafw"])
def test_a_lessons_own_answer_is_read_as_its_label(among):
    table = corpus_table({str(number): label for number, label in enumerate(among)}, {})
    told = [one.answer for one in recognition.lessons(table, among)]
    assert [expressions.answered(text, among) for text in told] == list(among)


def test_another_wording_needs_a_place_for_the_options():
    table = corpus_table({"1": "sad"}, {})
    [lesson] = recognition.lessons(table, ("sad", "fear"), question="Which? {options}")
    assert lesson.question == "Which? sad, fear"
    with pytest.raises(InputError, match=r"has no \{options\}"):
        recognition.lessons(table, ("sad", "fear"), question="Which?")


@pytest.mark.parametrize("labels", [["helpless"], ["angry", "disgust"], []], ids=["foreign", "compound", "none"])
def test_a_clip_without_one_label_of_the_set_is_refused(labels):
    table = corpus_table({"1": "sad"}, {}).assign(labels=[labels])
    for ask in (recognition.lessons, lambda table, among: recognition.clips_of({1: table}, among)):
        with pytest.raises(InputError, match=r"clip '1' has the labels .*kind='single'"):
            ask(table, DFEW)


# --- clips and answers ---------------------------------------------------------------------------------------


def test_clips_of_all_folds_are_each_tested_once():
    folds = {1: corpus_table({"1": "sad", "2": "fear"}, {"3": "sad"}), 2: corpus_table({"3": "sad"}, {"1": "sad"})}
    assert recognition.clips_of(folds, DFEW).to_dict("list") == {
        "clip": ["1", "2", "3"],
        "fold": [1, 1, 2],
        "truth": ["sad", "fear", "sad"],
    }


def test_a_clip_tested_in_two_folds_is_refused():
    folds = {fold: corpus_table({"1": "sad", str(fold): "sad"}, {}) for fold in (2, 4)}
    with pytest.raises(InputError, match="clip '1' is tested in folds 2 and 4"):
        recognition.clips_of(folds, DFEW)


def test_folds_without_a_test_part_are_refused():
    with pytest.raises(InputError, match="No clip is in the test part"):
        recognition.clips_of({1: corpus_table({}, {"1": "sad"})}, DFEW)


def test_answers_are_read_within_the_label_set_and_counted():
    clips = random_clips(6).assign(truth="sad")
    texts = ["Sadness.", "sad or happy", "helpless", "I cannot tell", None, "The woman is SAD, so sad."]
    told = recognition.read(recognition.answered("a", clips["clip"], texts), clips, DFEW)
    assert told.answer.tolist() == ["sad", "", "", "", "", "sad"]
    assert told.named.tolist() == [1, 2, 1, 0, 0, 1]
    assert recognition.counts(told).loc["a"].to_dict() == {
        "answers": 6,
        "one option": 2,
        "no class": 2,
        "several": 1,
        "another class": 1,
    }
    mafw_told = recognition.read(recognition.answered("a", clips["clip"], texts), clips, MAFW)
    assert recognition.counts(mafw_told).loc["a", ["one option", "another class"]].tolist() == [3, 0]


@given(st.lists(st.lists(st.sampled_from([*expressions.CLASSES, "anger", "so", "7"]), max_size=3), min_size=1))
@settings(max_examples=40, deadline=None)
def test_what_answers_name_adds_up_to_all_of_them(words):
    clips = random_clips(len(words))
    told = recognition.read(recognition.answered("a", clips["clip"], [" ".join(each) for each in words]), clips, DFEW)
    found = recognition.counts(told).loc["a"]
    assert found.drop("answers").sum() == found["answers"] == len(words)
    assert set(told.answer) <= {*DFEW, ""}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda told: told.iloc[1:], r"clip '1' \(1 such clips\) has no answer"),
        (lambda told: pd.concat([told, told.iloc[:1]]), "clip '1' .* has two answers"),
        (lambda told: pd.concat([told, told.iloc[:1].assign(clip="x")]), "clip 'x' .* is not tested"),
    ],
    ids=["missing", "twice", "foreign"],
)
def test_answers_that_do_not_fit_the_test_clips_are_refused(spoil, says):
    clips = random_clips(10)
    whole = guesses(clips)
    assert len(recognition.read(whole, clips, DFEW)) == 10
    with pytest.raises(InputError, match=f"row 'a', seed 0: {says}"):
        recognition.read(spoil(whole), clips, DFEW)


# --- the table -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips() -> pd.DataFrame:
    return random_clips(203)


@pytest.fixture(scope="module")
def told(clips) -> pd.DataFrame:
    """Two rows with three seeds each."""
    made = [
        guesses(clips, row=row, seed=seed, right=right) for row, right in (("a", 0.8), ("b", 0.3)) for seed in range(3)
    ]
    return recognition.read(pd.concat(made, ignore_index=True), clips, DFEW)


def test_fold_scores_are_scikit_learns_of_each_fold(told):
    found = recognition.fold_scores(told, DFEW)
    assert len(found) == 2 * 3 * 5 and found.clips.sum() == len(told)
    for _, line in found.iterrows():
        own = told[(told.row == line["row"]) & (told.seed == line["seed"]) & (told.fold == line["fold"])]
        recalls = recall_score(own.truth, own.answer, labels=sorted(set(own.truth)), average="macro", zero_division=0)
        expected = [100 * recalls, 100 * accuracy_score(own.truth, own.answer)]
        assert [line["UAR"], line["WAR"]] == pytest.approx(expected)


def test_the_table_has_means_over_folds_and_each_seed(told):
    each = recognition.fold_scores(told, DFEW).groupby(["row", "seed"])[["UAR", "WAR"]].mean()
    for line in recognition.table_rows(told, "DFEW", DFEW):
        expected = each.loc[line["row"], line["column"].removeprefix("DFEW ")]
        assert line["seeds"] == pytest.approx(expected.tolist())
        assert line["value"] == pytest.approx(expected.mean())
        assert line["low"] < line["value"] < line["high"]


def test_a_fold_of_two_sizes_counts_as_one_fold():
    """The mean over folds, not over clips: 100 % of one clip and 0 % of nine are 50 %."""
    clips = pd.DataFrame({"clip": list("abcdefghij"), "fold": [1] + [2] * 9, "truth": "sad"})
    texts = ["sad", *["fear"] * 9]
    told = recognition.read(recognition.answered("a", clips["clip"], texts), clips, DFEW)
    assert values(recognition.table_rows(told, "DFEW", DFEW)) == {("a", "DFEW UAR"): 50, ("a", "DFEW WAR"): 50}


def test_a_fold_that_a_resample_has_no_clip_of_is_left_out_of_its_mean():
    """Without the one clip of fold 1, which is wrong, 100 % are right, and not the half of it."""
    clips = pd.DataFrame({"clip": list("abcdefghij"), "fold": [1] + [2] * 9, "truth": "sad"})
    told = recognition.read(recognition.answered("a", clips["clip"], ["fear", *["sad"] * 9]), clips, DFEW)
    for line in recognition.table_rows(told, "DFEW", DFEW):
        assert (line["value"], line["low"], line["high"]) == (50, 50, 100)


def test_intervals_of_war_are_those_of_a_binomial():
    """In one fold WAR is a mean of clips: its interval is about 1.96 standard errors to each side."""
    clips = random_clips(400, folds=1)
    told = recognition.read(guesses(clips, right=0.6), clips, DFEW)
    [line] = [row for row in recognition.table_rows(told, "DFEW", DFEW) if row["column"] == "DFEW WAR"]
    share = line["value"] / 100
    expected = 196 * np.sqrt(share * (1 - share) / 400)
    assert line["high"] - line["value"] == pytest.approx(expected, rel=0.1)
    assert line["value"] - line["low"] == pytest.approx(expected, rel=0.1)


def test_the_interval_of_uar_is_that_of_the_score_itself_on_resamples():
    clips = random_clips(60, folds=2)
    told = recognition.read(guesses(clips), clips, DFEW)
    [line] = [row for row in recognition.table_rows(told, "DFEW", DFEW) if row["column"] == "DFEW UAR"]
    rng, drawn = np.random.default_rng(3), []
    for _ in range(500):
        sample = told.iloc[rng.integers(0, 60, 60)]
        recalls = (sample.truth == sample.answer).groupby([sample.fold, sample.truth]).mean()
        drawn.append(100 * recalls.groupby("fold").mean().mean())
    assert (line["low"], line["high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=2.5)


@given(st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_the_order_of_answers_is_of_no_matter(told, seed):
    mixed = told.sample(frac=1, random_state=seed)
    assert values(recognition.table_rows(mixed, "DFEW", DFEW)) == pytest.approx(
        values(recognition.table_rows(told, "DFEW", DFEW))
    )
    for row in "ab":
        pd.testing.assert_frame_equal(recognition.confusion(mixed, row, DFEW), recognition.confusion(told, row, DFEW))


def test_rows_stand_beside_the_papers(told):
    ours = [line | {"row": "Omni-Emotion"} for line in recognition.table_rows(told[told.row == "a"], "DFEW", DFEW)]
    table = results.compare("omni_emotion2025", "Table 5", ours, profile="tiny").set_index(["row", "column"])
    assert table.loc[("Omni-Emotion", "DFEW UAR"), "verdict"] == "not compared (tiny)"
    assert table.loc[("Omni-Emotion", "DFEW UAR"), "paper"] == 68.8
    assert table.loc[("Omni-Emotion", "MAFW WAR"), "verdict"].startswith("not run")
    assert "ours only" not in set(table.verdict)


def test_confusion_is_scikit_learns_with_a_column_for_what_is_no_option(told):
    found = recognition.confusion(told, "a", DFEW)
    assert found.columns.tolist() == [*DFEW, "none"] and found.index.tolist() == list(DFEW)
    own = told[told.row == "a"]
    expected = confusion_matrix(own.truth, own.answer.replace("", "none"), labels=[*DFEW, "none"])
    np.testing.assert_array_equal(found.to_numpy(), expected[:-1])
    assert found["none"].sum() == (own.answer == "").sum() > 0


def test_confusion_keeps_classes_that_nobody_shows_or_names():
    clips = random_clips(4).assign(truth="sad")
    told = recognition.read(recognition.answered("a", clips["clip"], ["sad"] * 4), clips, DFEW)
    found = recognition.confusion(told, "a", DFEW)
    assert found.shape == (7, 8) and found.loc["sad", "sad"] == found.to_numpy().sum() == 4


# --- trivial rows --------------------------------------------------------------------------------------------


def test_the_trivial_row_is_each_folds_own_most_frequent_class():
    folds = {
        1: corpus_table({"1": "sad", "2": "fear"}, {"3": "sad", "4": "sad", "5": "fear"}),
        2: corpus_table({"3": "sad", "4": "sad"}, {"1": "sad", "2": "fear"}),
        3: corpus_table({"7": "sad", "8": "sad"}, {"2": "fear", "6": "fear", "1": "sad"}),
    }
    told = recognition.majority(folds, DFEW)
    assert dict(zip(told["clip"], told.text, strict=True)) == {
        "1": "sad.",
        "2": "sad.",
        "3": "sad.",  # a tie: sad is before fear in DFEW's order
        "4": "sad.",
        "7": "fear.",  # what is tested does not count
        "8": "fear.",
    }
    clips = recognition.clips_of(folds, DFEW)
    found = values(recognition.table_rows(recognition.read(told, clips, DFEW), "DFEW", DFEW))
    assert list(found.values()) == pytest.approx([100 * (0.5 + 1 + 0) / 3] * 2)


def test_always_the_same_class_has_the_uar_of_chance():
    clips = random_clips(700)
    told = recognition.read(recognition.answered("a", clips["clip"], ["fear"] * 700), clips, DFEW)
    found = values(recognition.table_rows(told, "DFEW", DFEW))
    assert found["a", "DFEW UAR"] == pytest.approx(100 / 7)


def test_shuffled_answers_score_at_chance():
    clips = random_clips(350)
    told = recognition.read(recognition.answered("a", clips["clip"], clips.truth), clips, DFEW)
    mixed = recognition.shuffled(told, "a")
    rows = recognition.table_rows(mixed, "DFEW", DFEW)
    [uar, war] = rows
    assert uar["row"] == "a, shuffled" and len(uar["seeds"]) == 20 and len(set(uar["seeds"])) > 1
    assert uar["value"] == pytest.approx(100 / 7, abs=2)
    shares = clips.groupby("fold").truth.apply(lambda own: (own.value_counts(normalize=True) ** 2).sum())
    assert war["value"] == pytest.approx(100 * shares.mean(), abs=2)
    assert values(recognition.table_rows(told, "DFEW", DFEW))["a", "DFEW UAR"] == 100


def test_shuffling_stays_within_folds_and_keeps_every_answer(told):
    mixed = recognition.shuffled(told, "a", draws=3)
    own = told[(told.row == "a") & (told.seed == 0)]
    for _, draw in mixed.groupby("seed"):
        for fold, part in draw.groupby("fold"):
            assert sorted(part.text) == sorted(own[own.fold == fold].text)
            assert set(part["clip"]) == set(own[own.fold == fold]["clip"])


# --- the embedded corpora ------------------------------------------------------------------------------------


class Planted:
    """A planned corpus, not filmed, and rows that know all that their modalities show, and nothing else."""

    def __init__(self, folder: Path, uninformative: tuple[str, ...] = ()):
        self.plan = dfew.plan(folder, Recipe(people=15, uninformative=uninformative))
        truth = planted_corpus.truth(self.plan)
        self.file = folder / "planted.json"
        building.write_aside(self.file, json.dumps({"ceiling": planted_corpus.ceiling(self.plan), "clips": truth}))
        rows = [(clip, each["fold"], expressions.class_of(each["classes"][0])) for clip, each in truth.items()]
        self.clips = pd.DataFrame(rows, columns=["clip", "fold", "truth"])
        self.told = recognition.read(
            pd.concat([self._row(name, seen, truth) for name, seen in SYSTEMS.items()]), self.clips, DFEW
        )
        self.kinds = recognition.carriers(self.file, self.clips["clip"])

    def _row(self, name, seen, truth):
        """The class that anything it looks at shows, else neutral."""
        shown = [[each["shown"][carrier] for carrier in seen] for each in truth.values()]
        said = [next((label for label in labels if label != "neutral"), "neutral") for labels in shown]
        return recognition.answered(name, list(truth), said)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    return Planted(tmp_path_factory.mktemp("dfew"))


def test_who_sees_all_that_is_planted_reaches_the_ceiling_and_nobody_passes_it(planted):
    best = values(recognition.ceilings(planted.file, "DFEW"))
    found = values(recognition.table_rows(planted.told, "DFEW", DFEW))
    assert len(best) == 6
    for (row, column), value in found.items():
        assert value == pytest.approx(best[f"ceiling of {row}", column])
    assert [found[row, "DFEW UAR"] for row in SYSTEMS] == sorted(found[row, "DFEW UAR"] for row in SYSTEMS)
    assert found["v+a+f", "DFEW UAR"] == found["v+a+f", "DFEW WAR"] == 100


def test_each_modality_gains_where_it_carries_the_class_and_nowhere_else(planted):
    table = recognition.contrasts(planted.told, planted.kinds).set_index(["row", "kind"])
    assert len(table) == 2 * 4
    gains = {("v+a minus v", "voice"), ("v+a+f minus v+a", "face")}
    for place, line in table.iterrows():
        assert (line.difference, line.low, line.high) == ((100, 100, 100) if place in gains else (0, 0, 0))
        assert (line.p < 0.05) == (place in gains)
    assert table.clips.groupby(level="row").sum().tolist() == [105, 105]


def test_a_corpus_whose_faces_tell_nothing_shows_no_gain_by_the_face(tmp_path):
    without = Planted(tmp_path, ("face",))
    table = recognition.contrasts(without.told, without.kinds).set_index(["row", "kind"])
    assert table.loc[("v+a minus v", "voice"), "difference"] == 100
    assert (table.loc["v+a+f minus v+a"][["difference", "low", "high"]] == 0).all(axis=None)
    best = values(recognition.ceilings(without.file, "DFEW"))
    assert best["ceiling of v+a+f", "DFEW UAR"] == best["ceiling of v+a", "DFEW UAR"] < 100


def test_kinds_split_the_share_of_right_answers(planted):
    table = recognition.by_kind(planted.told, planted.kinds)
    assert table.index.tolist() == list(SYSTEMS)
    assert table.loc["v"].to_dict() == {"face": 0, "neutral": 100, "scene": 100, "voice": 0}
    assert table.loc["v+a"].to_dict() == {"face": 0, "neutral": 100, "scene": 100, "voice": 100}


def test_contrasts_average_seeds_and_stay_paired():
    clips = random_clips(4).assign(truth="sad")
    said = {("v", 0): "sad fear fear fear", ("v", 1): "sad fear fear fear"}
    said |= {("v+a", 0): "sad sad fear sad", ("v+a", 1): "sad sad fear fear"}
    made = [recognition.answered(row, clips["clip"], text.split(), seed=seed) for (row, seed), text in said.items()]
    told = recognition.read(pd.concat(made), clips, DFEW)
    kinds = {"1": "here", "2": "here", "3": "there", "4": "there"}
    table = recognition.contrasts(told, kinds, ("v", "v+a")).set_index("kind")
    assert table.difference.to_dict() == {"here": 50, "there": 25}
    assert (table.loc["here", "low"], table.loc["here", "high"]) == (0, 100)
    assert (table.loc["there", "low"], table.loc["there", "high"]) == (0, 50)


def test_intervals_of_contrasts_are_over_clips():
    """Gains of 0 and 1, as many of each: the interval is about 1.96 standard errors to each side of a half."""
    clips = random_clips(200).assign(truth="sad")
    said = {"v": ["fear"] * 200, "v+a": ["fear", "sad"] * 100}
    made = [recognition.answered(row, clips["clip"], texts) for row, texts in said.items()]
    told = recognition.read(pd.concat(made), clips, DFEW)
    [line] = recognition.contrasts(told, dict.fromkeys(clips["clip"], "all"), ("v", "v+a")).itertuples()
    assert line.difference == 50 and line.p < 0.01
    assert [50 - line.low, line.high - 50] == pytest.approx([196 * 0.5 / np.sqrt(200)] * 2, rel=0.1)


def test_a_compound_has_two_carriers(tmp_path):
    plan = planted_mafw.plan(tmp_path, Recipe(people=5))
    file = tmp_path / "planted.json"
    building.write_aside(file, json.dumps({"clips": planted_corpus.truth(plan)}))
    kinds = recognition.carriers(file, [*(str(clip.number) for clip in plan), "0"])
    for clip in plan:
        expected = "neutral" if clip.classes == ("neutral",) else "+".join(clip.carriers)
        assert kinds[str(clip.number)] == expected
    assert kinds["0"] == "unknown" and any("+" in kind for kind in kinds.values())


def test_a_contrast_with_a_row_that_was_not_run_is_refused(planted):
    with pytest.raises(InputError, match=r"row 'a\+f' has no answers; there are v, v\+a, v\+a\+f"):
        recognition.contrasts(planted.told, planted.kinds, ("v", "a+f"))


def test_real_clips_have_no_ceiling_and_unknown_carriers():
    assert recognition.ceilings(None, "DFEW") == []
    assert recognition.carriers(None, ["1", "2"]) == {"1": "unknown", "2": "unknown"}


def test_a_corpus_as_its_module_loads_it_is_scored(tmp_path, monkeypatch):
    """Files of the embedded MAFW, with empty videos: scores need none."""

    def without_film(folder, recipe, plan, write_tables, **_):
        for clip in plan:
            clip.file.parent.mkdir(parents=True, exist_ok=True)
            clip.file.touch()
        write_tables(folder, plan)
        return folder

    monkeypatch.setattr(expression_clips, "build", without_film)
    root = planted_mafw.build(tmp_path, people=5)
    folds = {fold: mafw.load(root, fold) for fold in range(1, 6)}
    clips = recognition.clips_of(folds, MAFW)
    assert len(clips) == 55 and clips.fold.value_counts().eq(11).all()
    right = recognition.answered("right", clips["clip"], [f"The answer is {label}." for label in clips.truth])
    told = recognition.read(pd.concat([right, recognition.majority(folds, MAFW)]), clips, MAFW)
    found = values(recognition.table_rows(told, "MAFW", MAFW))
    assert found["right", "MAFW UAR"] == found["right", "MAFW WAR"] == 100
    assert found[recognition.MAJORITY, "MAFW UAR"] == pytest.approx(100 / 11)
    with pytest.raises(InputError, match="kind='single'"):
        recognition.clips_of({1: mafw.load(root, 1, kind="compound")}, MAFW)
