"""
# Walkthrough in Python

The Python counterpart of the commands: make images, build AlexNet, look at its layers, train it, measure its errors,
and look at its kernels. It takes a minute or two on two cores, needs no GPU and downloads nothing. All files go into
the folder `walkthrough`.

This page is the program [walkthrough.py](walkthrough.py), which runs as it stands, `python docs/walkthrough.py`, and
the notebook [walkthrough.ipynb](walkthrough.ipynb). Every name that it needs is imported from `alexnet_keras`. In five
lines:

    from alexnet_keras import Classifier, evaluate, prepare, train

    data = prepare("demo")
    run = train(data)
    print(evaluate(run, views="ten-crop").top1)
    print(Classifier(run)("photo.jpg")[0].title)

## Setup
"""

from pathlib import Path

import keras
import numpy as np

from alexnet_keras import (
    AlexNet,
    Classifier,
    Reporter,
    draw_architecture,
    draw_kernels,
    evaluate,
    load_recipe,
    prepare,
    train,
)

FOLDER = Path("walkthrough")

"""
## Images

The demo images are drawn by code: a disc, a square or a triangle, red or blue, with horizontal or vertical stripes,
which makes twelve classes. Any folder of class folders would do as well, given as its path.

Preparing brings every image to 256x256, as in section 2 of the paper, writes shards that TensorFlow Datasets can
read, and measures the mean image and the colour covariance of the training images. A dataset that was prepared before
is not made again.
"""

data = prepare("demo", FOLDER / "data", limit_per_class=40)

print(f"{data.examples('train')} training images, {data.examples('val')} to validate on")
print(f"{len(data.classes)} classes, the first of them {data.classes[0]}")
print(f"mean colour {np.round(data.statistics.rgb_mean, 1)}")

"""
## The network

A recipe holds every constant of the network, the augmentation and the training, each with its source. `source` is
[net 145](glossary.md#net-145) of the authors' released code, the network behind the paper's tables, with 60,965,224
parameters for 1000 classes. `quickstart` has the same layers with fewer kernels, so that a processor trains it in
minutes. `draw_architecture` draws any of them as figure 2 does, `model.summary()` lists the layers.
"""

recipe = load_recipe("quickstart")
model = AlexNet(recipe, classes=len(data.classes), mean_image=data.statistics.mean_image)
print(f"{len(model.layers)} layers")
draw_architecture(model, FOLDER / "architecture.png")

"""
The input of the model is a batch of crops, `(batch, 224, 224, 3)`, RGB, 0..255: the subtraction of the mean and, in
training, the colour noise of section 4.1 are layers of the model. A tower layer returns a list with one tensor per
tower. The second convolution reads its own tower's maps, the third reads all of them (figure 2):
"""

for layer in model.layers:
    if hasattr(layer, "kernels"):
        shapes = [tuple(kernel.shape) for kernel in layer.kernels]
        print(f"{layer.name}: reads {layer.reads}, kernels {shapes}")

"""
## Training

`train` trains one run: a directory with the recipe, the model, a state to resume from, and the history. It uses the
paper's update rule, in which the weight decay is inside the velocity, and the recipe's schedule, scaled to the number
of epochs. With half of the recipe's images per batch the rates are halved, too (`scale_lr`). Any field of the recipe
can be changed by its name: `changes={"training.weight_rate": 0.005}`.

A `Reporter` receives notes, warnings and the events of the training; this one prints one line per epoch.
"""


class Printed(Reporter):
    def on_epoch_end(self, row, layers):
        print(f"epoch {row['epoch'] + 1:2.0f}: loss {row['loss']:.3f}, top-1 error {row['val_top1_error']:.1%}")


path = FOLDER / f"run-{1 + len(list(FOLDER.glob('run-*')))}"
run = train(data, recipe, run=path, epochs=16, batch_size=16, scale_lr=True, reporter=Printed())

"""
With two GPUs, `gpus=2` would put each tower on one of its own, as in the paper. `resume(run)` would continue a run that
was stopped.

## Errors

The run keeps the model with the lowest validation error. The paper averages the probabilities of ten crops: the corners
and the centre, and their mirror images (section 4.1). Intervals are at 95 %.
"""

best = run.load_model("best")
for views in ("centre", "ten-crop"):
    evaluation = evaluate(run, data, views=views)
    top1 = evaluation.top1
    print(f"{views}: top-1 error {top1.error:.1%} ({top1.low:.1%} to {top1.high:.1%}) on {evaluation.images} images")

"""
## An image

A `Classifier` prepares any image file exactly as the training images were prepared.
"""

classifier = Classifier(run)
image = FOLDER / "data-pictures/val/red-disc-vertical/000.jpg"
for one in classifier(image, count=3):
    print(f"{one.probability:6.1%} {one.title}")

"""
## Kernels

Figure 3 of the paper: the kernels of the first convolution, tower a above tower b.
"""

draw_kernels(best, FOLDER / "kernels.png")

"""
![Kernels of the first convolution, tower a above tower b](images/demo-kernels.png)

## Other programs

The model is an ordinary Keras model. A saved one opens once this package is imported, with no `custom_objects`.
"""

opened = keras.saving.load_model(run.model_path)
crops = np.zeros((2, 224, 224, 3), np.uint8)
np.testing.assert_array_equal(opened.predict(crops, verbose=0), best.predict(crops, verbose=0))
print(f"Look at {FOLDER / 'kernels.png'}; the run is in {run.path}")
