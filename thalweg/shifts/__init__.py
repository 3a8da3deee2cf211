"""Shifts: did the data move since a model was trained, did its surface, what kind of shift is it, and what helps?"""

from .causes.kinds import CODES, Kind
from .distributions.joint import JointTest, classifier_test, mmd_test
from .distributions.labels import LabelShift, bbse
from .distributions.power import critical_distance, enough, rows_needed
from .distributions.ratio import DensityRatio, density_ratio
from .distributions.score import ScoreTest, score_test
from .distributions.univariate import FeatureTest, feature_tests
from .monitor import Monitor
from .remedies.measuring import Tried, recommend, try_remedies
from .representative import Representative, representative
from .sample import Sample
from .shifted import Inputs, Shift
from .shifting import shift
from .surfaces.moved import SurfaceMoved, surface_moved
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
