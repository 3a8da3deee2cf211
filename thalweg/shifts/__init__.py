"""Shifts: did the data move since a model was trained, did its surface, what kind of shift is it, and what helps?"""

from .joint import JointTest, classifier_test, mmd_test
from .kinds import CODES, Kind
from .labels import LabelShift, bbse
from .monitor import Monitor
from .moved import SurfaceMoved, surface_moved
from .power import critical_distance, enough, rows_needed
from .ratio import DensityRatio, density_ratio
from .remedies import Tried, recommend, try_remedies
from .representative import Representative, representative
from .sample import Sample
from .score import ScoreTest, score_test
from .shifted import Inputs, Shift
from .shifting import shift
from .univariate import FeatureTest, feature_tests
from .windows import WindowReport

__all__ = [
    "CODES",
    "DensityRatio",
    "FeatureTest",
    "Inputs",
    "JointTest",
    "Kind",
    "LabelShift",
    "Monitor",
    "Representative",
    "Sample",
    "ScoreTest",
    "Shift",
    "SurfaceMoved",
    "Tried",
    "WindowReport",
    "bbse",
    "classifier_test",
    "critical_distance",
    "density_ratio",
    "enough",
    "feature_tests",
    "mmd_test",
    "recommend",
    "representative",
    "rows_needed",
    "score_test",
    "shift",
    "surface_moved",
    "try_remedies",
]
