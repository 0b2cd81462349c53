"""Measured data that come with scikit-learn: real, small, and there without a network."""

from typing import Any

from lossbench.components.vocabulary import Data, Samples, Target
from lossbench.lazy import LazyModule, np
from lossbench.registry import dataset

sklearn_datasets = LazyModule("sklearn.datasets")

DIGITS = Target("class", 10, tuple("0123456789"))
IRIS = Target("class", 3, ("setosa", "versicolor", "virginica"))
WINE = Target("class", 3, ("class_0", "class_1", "class_2"))
BREAST_CANCER = Target("class", 2, ("malignant", "benign"))
DIABETES = Target("real", 1, ("progression",))


@dataset(target=DIGITS, inputs=(1, 8, 8), real=True)
def digits(_seed: int) -> Data:
    """Handwritten digits, 1797 images of 8 x 8 pixels from 0 to 16: the small real image set.

    Shapes:    inputs [1797, 1, 8, 8], targets [1797] in 0 to 9
    Note:      standardised as one channel, so that neighbouring pixels stay comparable.
    Reference: Alpaydin and Kaynak, Cascading Classifiers, 1998.
    """
    return _shipped(sklearn_datasets.load_digits(), DIGITS, shape=(1, 8, 8))


@dataset(target=IRIS, inputs=(4,), real=True)
def iris(_seed: int) -> Data:
    """Three species of iris, 150 flowers of which four lengths were measured, in centimetres.

    Shapes:    inputs [150, 4], targets [150] in 0 to 2
    Note:      the test split holds some 22 flowers: one of them is 4.5 points of accuracy.
    Reference: Fisher, The Use of Multiple Measurements in Taxonomic Problems, 1936.
    """
    return _shipped(sklearn_datasets.load_iris(), IRIS)


@dataset(target=WINE, inputs=(13,), real=True)
def wine(_seed: int) -> Data:
    """Wines of three growers, 178 bottles told apart by 13 chemical measurements.

    Shapes:    inputs [178, 13], targets [178] in 0 to 2
    Reference: Aeberhard, Coomans and de Vel, Comparison of Classifiers in High Dimensional
               Settings, 1992.
    """
    return _shipped(sklearn_datasets.load_wine(), WINE)


@dataset(target=BREAST_CANCER, inputs=(30,), real=True)
def breast_cancer(_seed: int) -> Data:
    """Malignant or benign, 569 tumours by 30 measurements of their cell nuclei.

    Shapes:    inputs [569, 30], targets [569]: 0 malignant, 1 benign
    Note:      the positive class (1) is benign, as scikit-learn has it: recall is the share of the
               benign ones that were found.
    Reference: Street, Wolberg and Mangasarian, Nuclear Feature Extraction for Breast Tumor
               Diagnosis, 1993.
    """
    return _shipped(sklearn_datasets.load_breast_cancer(), BREAST_CANCER)


@dataset(target=DIABETES, inputs=(10,), real=True)
def diabetes(_seed: int) -> Data:
    """How far diabetes progressed in a year, for 442 patients by ten measurements.

    Shapes:    inputs [442, 10], targets [442, 1] from 25 to 346
    Note:      in the units of the study, not as scikit-learn scales it by default: that scaling
               has seen the test patients. Standardised here, as is the target.
    Reference: Efron, Hastie, Johnstone and Tibshirani, Least Angle Regression, 2004.
    """
    return _shipped(sklearn_datasets.load_diabetes(scaled=False), DIABETES)


def _shipped(bunch: Any, target: Target, shape: tuple[int, ...] | None = None) -> Data:
    """Take inputs, targets and names out of what scikit-learn returns."""
    inputs = np.asarray(bunch.data, dtype=np.float64)
    targets = np.asarray(bunch.target)
    return Data(
        target=target,
        samples=Samples(
            inputs if shape is None else inputs.reshape(-1, *shape).astype(np.float32),
            targets.astype(np.float64)[:, None]
            if target.kind == "real"
            else targets.astype(np.int64),
        ),
        input_names=tuple(str(name) for name in bunch.feature_names),
        standardize_target=target.kind == "real",
    )
