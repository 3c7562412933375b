"""
# Walkthrough in Python

What the commands do, from Python: make images, build AlexNet, look at its layers, train it, measure its errors, and
look at its kernels. It takes about a minute on two cores, needs no GPU and downloads nothing. All files go into the
folder `walkthrough`.

This page is the program [walkthrough.py](walkthrough.py), which runs as it stands: `python docs/walkthrough.py`.

## Setup
"""

from pathlib import Path

import keras
import numpy as np

from alexnet_keras import AlexNet, Classifier, Run, load_recipe, open_prepared
from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.demo import demo_source
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.network.kernels import first_kernels
from alexnet_keras.network.summary import parameters_of
from alexnet_keras.recipes.toml import with_overrides
from alexnet_keras.training.devices import choose_placement
from alexnet_keras.training.observer import Observer
from alexnet_keras.training.trainer import Trainer, TrainingOptions
from alexnet_keras.visualization.architecture import draw_architecture
from alexnet_keras.visualization.kernels import draw_kernels

FOLDER = Path("walkthrough")

"""
## Images

The demo images are drawn by code: a disc, a square or a triangle, red or blue, with horizontal or vertical stripes,
which makes twelve classes. Any folder of class folders would do as well, with
`alexnet_keras.data.sources.folder.folder_source`.

Preparing brings every image to 256x256, as in section 2 of the paper, writes shards that TensorFlow Datasets can
read, and measures the mean image and the colour covariance of the training images. What is there already is not made
again.
"""

source = demo_source(FOLDER / "pictures", train=40, val=10)
prepare(source, FOLDER / "data")
data = open_prepared(FOLDER / "data")

print(f"{data.examples('train')} training images, {data.examples('val')} to validate on")
print(f"{len(data.classes)} classes, the first of them {data.classes[0]}")
print(f"mean colour {np.round(data.statistics.rgb_mean, 1)}")

"""
## The network

A recipe holds every constant of the network, the augmentation and the training, each with where it comes from.
`source` is net 145 of the released code, with 60,965,224 parameters for 1000 classes. `quickstart` has the same layers
with fewer kernels, so that a processor trains it in minutes. `draw_architecture` draws any of them as figure 2 does,
`model.summary()` lists the layers.
"""

recipe = load_recipe("quickstart")
model = AlexNet(recipe, classes=len(data.classes), mean_image=data.statistics.mean_image)
print(f"{parameters_of(model):,} parameters in {len(model.layers)} layers")
draw_architecture(model, FOLDER / "architecture.png")

"""
The model takes crops as they are, `(batch, 224, 224, 3)`, RGB, 0..255: subtracting the mean and, while training, the
colour noise of section 4.1 are layers of it. A tower layer gives a list with one tensor a tower. The second convolution
reads its own tower's maps, the third reads all of them (figure 2):
"""

for layer in model.layers:
    if hasattr(layer, "kernels"):
        shapes = [tuple(kernel.shape) for kernel in layer.kernels]
        print(f"{layer.name}: reads {layer.reads}, kernels {shapes}")

"""
## Training

A `Trainer` trains one run: a directory with the recipe, the model, a state to resume from, and the history. It uses the
paper's update rule, in which the weight decay is inside the velocity, and the recipe's schedule, scaled to the number
of epochs. With half of the recipe's images a batch the rates are halved, too.

Fields of a recipe are changed by their names, as with `alexnet train --set`. An `Observer` is told what happens; this
one prints a line an epoch.
"""


class Printed(Observer):
    def on_epoch_end(self, row, layers):
        print(f"epoch {row['epoch'] + 1:2.0f}: loss {row['loss']:.3f}, top-1 error {row['val_top1_error']:.1%}")


changes = ["epochs=16", "batch_size=16", "weight_rate=0.005", "bias_rate=0.01"]
recipe = with_overrides(recipe, [f"training.{change}" for change in changes])
number = 1 + len(list(FOLDER.glob("run-*")))
facts = {"classes": list(data.classes), "data": data.facts, "recipe": recipe.name, "seed": 0}
run = Run.create(FOLDER / f"run-{number}", recipe, facts)
placement = choose_placement("one", gpus=None, towers=recipe.network.towers, strict=False)

history = Trainer(run, recipe, data, placement, TrainingOptions(seed=0), Printed()).fit()

"""
With two GPUs, `choose_placement("towers", gpus=2, ...)` would put each tower on one of its own, as in the paper.

## Errors

The run keeps the model with the lowest validation error. The paper averages the probabilities of ten crops: the corners
and the centre, and their mirror images (section 4.1). Intervals are at 95 %.
"""

best = run.load_model("best")
for views in ("centre", "ten-crop"):
    found = Predictor(best, views).evaluate(data, "val")
    error = found.top1
    print(f"{views}: top-1 error {error.error:.1%} ({error.low:.1%} to {error.high:.1%}) on {found.images} images")

"""
## An image

A `Classifier` takes any image file and prepares it exactly as the training images were prepared.
"""

classifier = Classifier(run)
image = FOLDER / "pictures/val/red-disc-vertical/000.jpg"
for guess in classifier(image, count=3):
    print(f"{guess.probability:6.1%} {guess.title}")

"""
## Kernels

Figure 3 of the paper: the kernels of the first convolution, tower a above tower b.
"""

kernels = first_kernels(best)
print(f"{len(kernels)} towers with kernels {kernels[0].shape}")
draw_kernels(best, FOLDER / "kernels.png")

"""
![Kernels of the first convolution, tower a above tower b](images/demo-kernels.png)

## Elsewhere

The model is an ordinary Keras model. A saved one opens once this package is imported, with no `custom_objects`.
"""

opened = keras.saving.load_model(run.model_path)
crops = np.zeros((2, 224, 224, 3), np.uint8)
np.testing.assert_array_equal(opened.predict(crops, verbose=0), best.predict(crops, verbose=0))
print(f"Look at {FOLDER / 'kernels.png'}; the run is in {run.path}")
