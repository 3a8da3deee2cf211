"""Normalization layers: exchanged on the user's own model, folded for inference, and their statistics looked after."""

from .calibration import BatchNormGap, NormGap, gap, recalibrate
from .kinds import KINDS, ChannelRMS, ChannelsLast, WeightNorm, make, read
from .swapping import Swap, fuse, swap

__all__ = [
    "KINDS",
    "BatchNormGap",
    "ChannelRMS",
    "ChannelsLast",
    "NormGap",
    "Swap",
    "WeightNorm",
    "fuse",
    "gap",
    "make",
    "read",
    "recalibrate",
    "swap",
]
