"""Normalization layers: exchanged on the user's own model, folded for inference, and their statistics looked after."""

from .calibration import BatchNormGap, NormGap, gap, recalibrate
from .fusing import fuse
from .kinds import KINDS, ChannelRMS, PositionBatchNorm, PositionGroupNorm, PositionRMSNorm, WeightNorm, make, read
from .swapping import Swap, swap

__all__ = [
    "KINDS",
    "BatchNormGap",
    "ChannelRMS",
    "NormGap",
    "PositionBatchNorm",
    "PositionGroupNorm",
    "PositionRMSNorm",
    "Swap",
    "WeightNorm",
    "fuse",
    "gap",
    "make",
    "read",
    "recalibrate",
    "swap",
]
