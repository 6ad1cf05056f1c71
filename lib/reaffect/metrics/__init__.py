"""Scores of predictions against truth. Arguments are `(truth, prediction)`; of ours only errors are imported."""

from reaffect.metrics.binary import BinaryScores, binary_scores
from reaffect.metrics.correlation import mean_pearson, pearson
from reaffect.metrics.recall import RecallScores, recall_scores
from reaffect.metrics.sets import SampleScores, SetScores, hit_rate, plain, plain_set, sample_scores, set_scores
from reaffect.metrics.wheels import WHEEL, Wheels, WheelScores, read_wheels, wheel_groups, wheel_scores

__all__ = [
    "WHEEL",
    "BinaryScores",
    "RecallScores",
    "SampleScores",
    "SetScores",
    "WheelScores",
    "Wheels",
    "binary_scores",
    "hit_rate",
    "mean_pearson",
    "pearson",
    "plain",
    "plain_set",
    "read_wheels",
    "recall_scores",
    "sample_scores",
    "set_scores",
    "wheel_groups",
    "wheel_scores",
]
