"""Two samples of rows: feature by feature, all together, their classes, their densities, and how much can be seen."""

from .joint import JointTest, classifier_test, mmd_test
from .labels import LabelShift, bbse
from .nulls import Null, null
from .power import critical_distance, enough, rows_needed, visible
from .ratio import DensityRatio, density_ratio
from .score import ScoreTest, score_test
from .univariate import FeatureTest, feature_tests

__all__ = [
    "DensityRatio",
    "FeatureTest",
    "JointTest",
    "LabelShift",
    "Null",
    "ScoreTest",
    "bbse",
    "classifier_test",
    "critical_distance",
    "density_ratio",
    "enough",
    "feature_tests",
    "mmd_test",
    "null",
    "rows_needed",
    "score_test",
    "visible",
]
