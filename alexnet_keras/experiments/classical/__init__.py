"""The two classical systems that the paper's table 1 compares with: sparse coding, and SIFT with Fisher vectors."""

from alexnet_keras.experiments.classical.settings import FULL, MINI, FisherVectors, SparseCoding, SystemSettings
from alexnet_keras.experiments.classical.systems import SYSTEMS, Scores, fit_and_predict

__all__ = ["FULL", "MINI", "SYSTEMS", "FisherVectors", "Scores", "SparseCoding", "SystemSettings", "fit_and_predict"]
