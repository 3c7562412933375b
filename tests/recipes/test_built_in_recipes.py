"""Every value of every built-in recipe, written down once more; and the values that a recipe may not have.

The numbers of `source` are those of layers-145.cfg and layer-params-145.cfg, those of `paper` the paper's; of the
others each has its comment. A value is not taken from `recipes/` here, so that none changes unnoticed.
"""

from dataclasses import FrozenInstanceError, fields

import pytest

from alexnet_keras.errors import UsageError
from alexnet_keras.recipes import schema
from alexnet_keras.recipes.built_in import BUILT_IN, CHOICES, PIXEL_STD, modernised
from alexnet_keras.recipes.edits import fields_of
from alexnet_keras.recipes.toml import load_recipe, with_overrides

CONVOLUTION = {"rate_factor": 1.0, "weight_decay": None}
DENSE = {"reads": "all", "initial_std": 0.01, "initial_bias": 1.0, "dropout": 0.5, "activation": "relu", **CONVOLUTION}


def table(place: str, /, **values) -> dict:
    return {f"{place}.{field}": value for field, value in values.items()}


SOURCE = {
    **table("network.conv1", name="conv1", filters=48, kernel=11, stride=4, padding=(0, 3), reads="all", **CONVOLUTION),
    **table("network.conv1", initial_std=0.01, initial_bias=0.0, followed_by=("lrn", "pool", "relu")),
    **table("network.conv2", name="conv2", filters=128, kernel=5, stride=1, padding=(2, 2), reads="own", **CONVOLUTION),
    **table("network.conv2", initial_std=0.01, initial_bias=1.0, followed_by=("relu", "lrn", "spatial_norm", "pool")),
    **table("network.conv3", name="conv3", filters=192, kernel=3, stride=1, padding=(1, 1), reads="all", **CONVOLUTION),
    **table("network.conv3", initial_std=0.03, initial_bias=0.0, followed_by=("relu",)),
    **table("network.conv4", name="conv4", filters=192, kernel=3, stride=1, padding=(1, 1), reads="own", **CONVOLUTION),
    **table("network.conv4", initial_std=0.03, initial_bias=1.0, followed_by=("relu",)),
    **table("network.conv5", name="conv5", filters=128, kernel=3, stride=1, padding=(1, 1), reads="own", **CONVOLUTION),
    **table("network.conv5", initial_std=0.03, initial_bias=1.0, followed_by=("relu", "pool")),
    **table("network.fc6", name="fc6", units=2048, **DENSE),
    **table("network.fc7", name="fc7", units=2048, **DENSE),
    **table("network.fc8", initial_std=0.01, initial_bias=0.0, **CONVOLUTION),
    **table("network", towers=2, input_size=224, pool_size=3, pool_stride=2),
    **table("network.lrn", k=2.0, n=5, alpha=1e-4, beta=0.75, alpha_convention="mean", windows="tower"),
    **table("network.spatial_norm", size=5, scale=0.001, beta=0.75, k=1.0),
    **table("augmentation", mean="image", input_scale=1.0, random_crop=True, crop_area=None, flip=True, crop_group=32),
    **table("augmentation", color_noise=0.1, color_noise_scale="standard_deviation", color_noise_rescale=True),
    **table("training", epochs=91, batch_size=128, momentum=0.9, weight_decay=0.0005, bias_decay=0.0),
    **table("training", weight_rate=0.01, bias_rate=0.02, label_smoothing=0.0, averaging_epochs=0.0),
    **table("training", class_weights="none", patience=None),
    **table("training.schedule", kind="steps", length=91, factor=10.0, drop_epochs=(25, 51, 79), warmup_epochs=0),
    **table("training.schedule", biases_drop=False, conv1_lowered_epoch=67, conv1_lowered_rate=1e-5),
    **table("training.schedule", conv1_frozen_epoch=72, color_noise_off_epoch=67),
    **table("training.schedule", plateau_drops=3, plateau_patience=5, dexp_weights=(250.0, 4), dexp_biases=(10.0, 2)),
}
NOT_BY_HAND = table("training.schedule", conv1_lowered_epoch=None, conv1_frozen_epoch=None, color_noise_off_epoch=None)
PAPER = {
    **NOT_BY_HAND,
    "network.conv1.followed_by": ("relu", "lrn", "pool"),
    "network.conv2.followed_by": ("relu", "lrn", "pool"),
    **{f"network.conv{number}.initial_std": 0.01 for number in (3, 4, 5)},
    "network.lrn.alpha_convention": "sum",
    **table("augmentation", crop_group=1, color_noise_scale="eigenvalue", color_noise_rescale=False),
    **table("training", epochs=90, bias_decay=0.0005, bias_rate=0.01),
    **table("training.schedule", kind="plateau", length=90, biases_drop=True),
}
QUICKSTART = {
    **NOT_BY_HAND,
    **table("network.conv1", filters=24, initial_std=0.003),
    **table("network.conv2", filters=32, initial_std=0.045),
    **table("network.conv3", filters=48, initial_std=0.06),
    **table("network.conv4", filters=48, initial_std=0.06),
    **table("network.conv5", filters=32, initial_std=0.06),
    **table("network.fc6", units=256, initial_std=0.02),
    **table("network.fc7", units=256, initial_std=0.028),
    "network.fc8.initial_std": 0.028,
    **table("augmentation", crop_group=1),
    **table("training", epochs=24, batch_size=32),
    **table("training.schedule", length=24, drop_epochs=(18, 22), color_noise_off_epoch=18),
}
MODERN = {  # weights of sqrt(2 / fan-in), the classifier's of sqrt(1 / fan-in)
    **NOT_BY_HAND,
    "network.conv1.initial_std": 0.0742270,  # 11 * 11 * 3
    **table("network.conv2", initial_std=0.0408248, initial_bias=0.0),  # 5 * 5 * 48
    "network.conv3.initial_std": 0.0294628,  # 3 * 3 * 256
    **table("network.conv4", initial_std=0.0340207, initial_bias=0.0),  # 3 * 3 * 192
    **table("network.conv5", initial_std=0.0340207, initial_bias=0.0),
    **table("network.fc6", initial_std=0.0147314, initial_bias=0.0, dropout=0.25),  # 9216
    **table("network.fc7", initial_std=0.0220971, initial_bias=0.0, dropout=0.25),  # 4096
    "network.fc8.initial_std": 0.015625,  # 4096
    **table("augmentation", input_scale=0.0134452, crop_group=1, color_noise_rescale=False),  # 1 / 74.376
    **table("training", epochs=45, batch_size=64, bias_rate=0.01, label_smoothing=0.1, averaging_epochs=1.5),
    **table("training.schedule", kind="cosine", length=45, drop_epochs=(), warmup_epochs=2),
}
CAFFENET = {
    **NOT_BY_HAND,
    **table("network.conv1", padding=(0, 0), followed_by=("relu", "pool", "lrn")),
    "network.conv2.followed_by": ("relu", "pool", "lrn"),
    **{f"network.conv{number}.initial_std": 0.01 for number in (3, 4, 5)},
    "network.fc6.initial_std": 0.005,
    "network.fc7.initial_std": 0.005,
    "network.input_size": 227,
    **table("network.lrn", k=1.0, windows="layer"),
    **table("augmentation", crop_group=1, color_noise=0.0, color_noise_rescale=False),
    **table("training", epochs=90, batch_size=256),
    **table("training.schedule", length=90, drop_epochs=(20, 40, 60, 80), biases_drop=True),
}
CAFFE = {
    **CAFFENET,
    "network.conv1.followed_by": ("relu", "lrn", "pool"),
    "network.conv2.followed_by": ("relu", "lrn", "pool"),
    **{f"network.{layer}.initial_bias": 0.1 for layer in ("conv2", "conv4", "conv5", "fc6", "fc7")},
}
TORCHVISION = {  # weights of 1 / sqrt(3 * fan-in)
    **NOT_BY_HAND,
    **table("network.conv1", filters=64, padding=(2, 2), initial_std=0.0303030, followed_by=("relu", "pool")),
    **table(
        "network.conv2", filters=192, reads="all", initial_std=0.0144338, initial_bias=0.0, followed_by=("relu", "pool")
    ),
    **table("network.conv3", filters=384, initial_std=0.0138889),
    **table("network.conv4", filters=256, reads="all", initial_std=0.00982093, initial_bias=0.0),
    **table("network.conv5", filters=256, reads="all", initial_std=0.0120281, initial_bias=0.0),
    **table("network.fc6", units=4096, initial_std=0.00601407, initial_bias=0.0),
    **table("network.fc7", units=4096, initial_std=0.00902110, initial_bias=0.0, dropout=0.0),
    **table("network.fc8", initial_std=0.00902110),
    "network.towers": 1,
    **table("augmentation", mean="channel", input_scale=0.0173521, crop_group=1),  # 1 / (255 * 0.226)
    **table("augmentation", color_noise=0.0, color_noise_rescale=False),
    **table("training", epochs=90, batch_size=256, weight_decay=1e-4, bias_decay=1e-4, bias_rate=0.01),
    **table("training.schedule", length=90, drop_epochs=(30, 60), biases_drop=True),
}
CHANGES = {
    "source": {},
    "paper": PAPER,
    "quickstart": QUICKSTART,
    "modern": MODERN,
    "caffe": CAFFE,
    "caffenet": CAFFENET,
    "torchvision": TORCHVISION,
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_value_of_a_recipe_is_the_one_written_here(name):
    found = {field: cited.value for field, cited in fields_of(load_recipe(name)).items() if field != "summary"}
    expected = {"name": name, **SOURCE, **CHANGES[name]}
    assert found.keys() == expected.keys()
    for field, value in expected.items():
        wanted = pytest.approx(value, rel=5e-6) if isinstance(value, float) else value
        assert found[field] == wanted, field


def test_the_colour_statistics_are_those_of_the_released_code():
    assert schema.IMAGENET_RGB_MEAN == (127.3049, 119.7154, 104.9126)
    assert schema.IMAGENET_COLOR_STDS == (19.7208, 37.0939, 121.7801)
    assert schema.IMAGENET_COLOR_VECTORS == (
        (0.41795513, -0.71257945, -0.56351045),
        (-0.81698062, -0.02354167, -0.5761844),
        (0.39731118, 0.70119634, -0.59200296),
    )
    assert pytest.approx(74.376, abs=5e-4) == PIXEL_STD


LIMITS = [  # (field, an allowed value at the limit, the first that is refused)
    *((f"network.conv2.{field}", "1", "0") for field in ("filters", "kernel", "stride")),
    ("network.conv2.padding", "[0, 0]", "[-1, 0]"),
    ("network.conv2.padding", "[0, 0]", "[0, -1]"),
    *((f"network.conv2.{field}", "0.0", "-0.5") for field in ("initial_std", "rate_factor", "weight_decay")),
    ("network.fc6.units", "1", "0"),
    *((f"network.fc6.{field}", "0.0", "-0.5") for field in ("initial_std", "rate_factor", "weight_decay", "dropout")),
    ("network.fc6.dropout", "0.99", "1.0"),
    ("network.lrn.n", "1", "0"),
    ("network.lrn.n", "3", "4"),
    ("network.spatial_norm.size", "1", "0"),
    ("network.spatial_norm.size", "7", "6"),
    ("network.input_size", "256", "257"),
    ("network.input_size", "64", "48"),  # pool5 has nothing to pool
    *((f"network.{field}", "1", "0") for field in ("towers", "pool_size", "pool_stride")),
    *((f"network.fc8.{field}", "0.0", "-0.5") for field in ("initial_std", "rate_factor", "weight_decay")),
    ("augmentation.input_scale", "0.001", "0.0"),
    ("augmentation.crop_area", "[0.08, 1.0]", "[0.0, 1.0]"),
    ("augmentation.crop_area", "[0.08, 1.0]", "[0.08, 1.01]"),
    ("augmentation.crop_group", "1", "0"),
    ("augmentation.color_noise", "0.0", "-0.5"),
    *((f"training.{field}", "1", "0") for field in ("epochs", "batch_size")),
    *((f"training.{field}", "0.0", "-0.5") for field in ("momentum", "weight_decay", "bias_decay", "label_smoothing")),
    *((f"training.{field}", "0.99", "1.0") for field in ("momentum", "label_smoothing")),
    *((f"training.{field}", "0.001", "0.0") for field in ("weight_rate", "bias_rate")),
    ("training.averaging_epochs", "0.0", "-0.5"),
    *((f"training.schedule.{field}", "1", "0") for field in ("length", "plateau_patience")),
    ("training.schedule.factor", "1.01", "1.0"),
    ("training.schedule.drop_epochs", "[0]", "[-1]"),
    *(
        (f"training.schedule.{field}", "0", "-1")
        for field in ("warmup_epochs", "conv1_lowered_epoch", "conv1_frozen_epoch", "color_noise_off_epoch")
    ),
    ("training.schedule.conv1_lowered_rate", "0.0", "-0.5"),
    ("training.schedule.plateau_drops", "0", "-1"),
    *((f"training.schedule.dexp_{kind}", "[1.0, 2]", "[0.99, 2]") for kind in ("weights", "biases")),
    *((f"training.schedule.dexp_{kind}", "[1.0, 2]", "[1.0, 1]") for kind in ("weights", "biases")),
]


@pytest.mark.parametrize(("field", "allowed", "refused"), LIMITS)
def test_values_end_where_they_stop_making_sense(field, allowed, refused):
    source = load_recipe("source")
    with_overrides(source, [f"{field}={allowed}"])
    with pytest.raises(UsageError, match=field.rpartition(".")[2]):
        with_overrides(source, [f"{field}={refused}"])


@pytest.mark.parametrize(
    "part", ["", "network", "augmentation", "training", "schedule", "conv1", "fc6", "fc8", "lrn", "spatial"]
)
def test_a_recipe_cannot_be_changed_and_two_equal_ones_are_the_same_key(part):
    recipe, again = BUILT_IN["source"], load_recipe("source")
    net, other = recipe.network, again.network
    value, equal = {
        "": (recipe, again),
        "network": (net, other),
        "augmentation": (recipe.augmentation, again.augmentation),
        "training": (recipe.training, again.training),
        "schedule": (recipe.training.schedule, again.training.schedule),
        "conv1": (net.convolutions[0], other.convolutions[0]),
        "fc6": (net.dense[0], other.dense[0]),
        "fc8": (net.classifier, other.classifier),
        "lrn": (net.lrn, other.lrn),
        "spatial": (net.spatial_norm, other.spatial_norm),
    }[part]
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)
    assert {value: 1}[equal] == 1


def test_the_warm_up_of_modern_is_a_twentieth_of_the_epochs_and_at_least_one():
    for epochs, warmup in ((91, 5), (45, 2), (10, 1), (4, 1)):
        changed = CHOICES["schedule"](with_overrides(load_recipe("source"), [f"training.epochs={epochs}"]))
        assert changed.training.schedule.warmup_epochs == warmup


def test_a_choice_of_modern_can_be_left_out():
    assert modernised(load_recipe("source"), "averaging").training.averaging_epochs == 0.0
