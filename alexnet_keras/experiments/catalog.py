"""Every experiment: what the paper claims, what the lab's logs recorded, what is run, and what it costs.

This module imports neither Keras nor TensorFlow.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Experiment:
    """One figure, table or claim of the paper, as an experiment.

    Attributes:
        name: Its name on the command line.
        title: Its title, as it reads within a sentence.
        section: The section of the paper; "" for a claim of ours.
        claim: The claim.
        method: What is run, exactly, at every scale.
        data: The data that `--data` has to name.
        cost_full: Its cost on ImageNet; estimates, by the paper's five to six days on two GPUs for one network.
        cost_mini: Its cost in miniature, on two processor cores.
        cost_photos: Its cost at full width for a third of the epochs, on two processor cores in mixed_bfloat16;
            by 60 and 31 minutes for 30 and 15 epochs of 9,469 images on one machine, and 13 for 12 on another; 18
            minutes for the classical systems of table 1 on the first.
        log: What the lab's logs recorded; "" where they have nothing on it.
        seeds: Number of seeds by default.
        parts: It has parts, of which `--only` chooses some.
        pretrain: It takes `--pretrain`.
        float16: It takes `--precision mixed_float16`, for which its trainings scale the loss.
        without: Further options of `alexnet reproduce`, as parameters, that change nothing in it.
    """

    name: str
    title: str
    section: str
    claim: str
    method: str
    data: str
    cost_full: str
    cost_mini: str
    cost_photos: str
    log: str = ""
    seeds: int = 3
    parts: bool = False
    pretrain: bool = False
    float16: bool = True
    without: tuple[str, ...] = ()

    @property
    def unused(self) -> tuple[str, ...]:
        """The options, as parameters, that change nothing in it."""
        return (*self.without, *(() if self.parts else ("only",)), *(() if self.pretrain else ("pretrain",)))

    @property
    def claimant(self) -> str:
        """The author of the claim, with the section: "The paper, section 3.1"."""
        return f"The paper, {self.section}" if self.section else "Not in the paper"

    @property
    def claim_column(self) -> str:
        """The head of the column of its claims."""
        return "the paper" if self.section else "expected"

    @property
    def module(self) -> ModuleType:
        """Its module, with `run(lab)` and `draw(outcome, path)`."""
        return importlib.import_module(f"alexnet_keras.experiments.{self.name.replace('-', '_')}")


PREPARED = "a prepared dataset, by name under data/ or by path; the latest by default"
CIFAR = "CIFAR-10: a folder with train and test above class folders, or tfds:cifar10, the default"

NOTHING = "nothing"

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "figure-1",
            "ReLU against tanh on CIFAR-10",
            "section 3.1, figure 1",
            "A four-layer convolutional network reaches 25 % training error six times sooner with ReLUs than with tanh "
            "neurons, the learning rate of each chosen to make training as fast as possible, without regularisation.",
            "cuda-convnet's four-layer network (three convolutions of 32, 32 and 64 5x5 kernels, fc10), batches of "
            "128, momentum 0.9. Five rates race: all train 2 epochs, the better ones 5, the last two on to 25 %. There "
            "is one scale.",
            CIFAR,
            "as in miniature",
            "about an hour",
            "as in miniature",
            seeds=1,
            float16=False,
            without=("scale", "gpus", "cache"),
        ),
        Experiment(
            "figure-2",
            "the two towers",
            "section 3.5, figure 2",
            "Two towers of 253,440 - 186,624 - 64,896 - 64,896 - 43,264 - 4096 - 4096 - 1000 neurons with 60 million "
            "parameters, which communicate in the third convolution and the dense layers alone.",
            "Drawn and counted from the model of the recipe source: shapes, neurons, parameters, what passes between "
            "the towers. Nothing is trained.",
            NOTHING,
            "seconds",
            "seconds",
            "seconds",
            seeds=1,
            without=("scale", "data", "seeds", "epochs", "precision", "gpus", "cache"),
        ),
        Experiment(
            "figure-3",
            "the first layer's kernels, and specialised towers",
            "section 6.1, figure 3",
            "96 kernels of frequency, orientation and colour; one tower's are largely colour-agnostic, the other's "
            "largely colour-specific, in every run, whatever the initial weights.",
            "The recipe source, trained once a seed (in miniature: quickstart, 20 epochs). The colour share of every "
            "kernel, and a Mann-Whitney test between the towers of each run.",
            PREPARED,
            "about 250 GPU-hours of 2012 a seed",
            "3 minutes a seed on 3,000 images",
            "35 to 75 minutes a seed on 9,500 images",
        ),
        Experiment(
            "figure-4",
            "five likeliest classes, and nearest training images",
            "section 6.1, figure 4",
            "Images whose last hidden layers are near to each other show the same kind of object, though their "
            "pixels are generally not near.",
            "The same networks as figure-3's. Eight validation images with five labels each; five others with their "
            "six nearest training images; over 200 queries the neighbours' classes, and their places by pixels.",
            PREPARED,
            "as figure-3",
            "as figure-3",
            "as figure-3",
        ),
        Experiment(
            "table-1",
            "sparse coding, SIFT + Fisher vectors, and the CNN",
            "section 6, table 1",
            "On ILSVRC-2010's test images top-1 / top-5 error: sparse coding 47.1 / 28.2, SIFT + FVs 45.7 / 25.7, "
            "the CNN 37.5 / 17.0 %, and 39.0 / 18.3 % from the centre crop alone.",
            "All systems on the same images. sparse-coding: dense SIFT, dictionary learning, maxima over a spatial "
            "pyramid, linear SVM. fisher-vectors: dense SIFT at several sizes, PCA, Gaussian mixture, improved Fisher "
            "vectors, linear SVM. cnn and cnn-centre: the recipe source, in miniature quickstart, 20 epochs.",
            PREPARED + "; tested on its test split if it has one, else on val",
            "about 250 GPU-hours of 2012; 200 and 280 core-hours for the classical systems",
            "20 minutes on 4,000 images",
            "35 to 75 minutes for the CNN and 20 for the others, a seed, on 9,500 images",
            log="145-2010: 37.5 / 17.0, centre crop 39.0 / 18.3",
            seeds=1,
            parts=True,
        ),
        Experiment(
            "table-2",
            "ensembles and pre-training",
            "section 6, table 2",
            "Top-1 / top-5 error: 1 CNN 40.7 / 18.2, 5 CNNs 38.1 / 16.4, 1 CNN* 39.0 / 16.6, 7 CNNs* 36.7 / 15.4 %.",
            "As many CNNs (source; in miniature quickstart, 20 epochs) as seeds. CNN*: conv1 to conv5 of the first are "
            "copied into a network with a sixth convolution, trained on --pretrain (copied layers at a tenth of the "
            "rates), then on the next --pretrain with all convolutions copied, then on --data with all but fc8 copied "
            "(rate 0.001, conv1 0.0001, fc8 0.01); 30 epochs each, at the other scales 10. Ensembles average ten-crop "
            "probabilities.",
            PREPARED + "; --pretrain: others, without which there are no CNNs*",
            "about 250 GPU-hours of 2012 a network, more for --pretrain",
            "an hour on 3,000 images and 10,000 to pre-train on",
            "35 to 75 minutes a network on 9,500 images, more for --pretrain",
            log="145: 40.7 / 18.2; 146-2012-2011: 39.0 / 16.6; 146-2012-2009: 39.1 / 16.9",
            seeds=5,
            pretrain=True,
        ),
        Experiment(
            "fall-2009",
            "ImageNet of Fall 2009",
            "section 6",
            "With 10,184 classes, 8.9 million images and half of them held out, the six-convolution network has "
            "67.4 % top-1 and 40.9 % top-5 error; the best before had 78.1 and 60.9.",
            "The six-convolution network, from new weights, or with --pretrain: a five-convolution network is trained "
            "on the first of these sets, and its convolutions are copied into the six-convolution network, which is "
            "trained on the next ones, in order, and last on --data, 30 epochs each, at the other scales 10, copied "
            "layers at a tenth of the rates. Ten crops of the half held out.",
            "a prepared dataset with half of each class held out: alexnet prepare synsets:DIR --holdout 0.5",
            "two weeks on two GPUs of 2012",
            "5 minutes a seed on 3,000 images",
            "40 to 70 minutes a seed on 9,500 images",
            pretrain=True,
        ),
        Experiment(
            "ablations",
            "what each part is worth",
            "sections 3.1 to 3.4, 4.1, 4.2, 5 and 7",
            "Without normalisation +1.4 / +1.2 points of top-1 / top-5 error; pooling without overlap +0.4 / +0.3; one "
            "tower of half the kernels +1.7 / +1.2; no colour noise over +1; without any middle layer about +2.",
            "The recipe source, and recipes derived from it by naming what changes: no-lrn, no-overlap, one-tower, "
            "separate-towers, no-color-noise, no-crops, no-dropout, no-decay, tanh, no-conv1 to no-conv5, paper-init. "
            "Ten crops. In miniature: the recipe quickstart, 20 epochs.",
            PREPARED,
            "about 250 GPU-hours of 2012 a network and seed",
            "3 minutes a network and seed on 3,000 images",
            "35 to 75 minutes a network and seed on 9,500 images",
            log="148 (no normalisation) +1.4 / +1.2; 147 (no overlap) +0.4 / +0.3; 145-half (one tower) +1.7 / +1.2; "
            "150 (towers that never communicate) +1.2 / +1.1",
            parts=True,
        ),
        Experiment(
            "cifar-lrn",
            "normalisation on CIFAR-10",
            "section 3.3",
            "A four-layer CNN has 13 % test error on CIFAR-10 without normalisation and 11 % with it.",
            "cuda-convnet's networks behind these numbers (two convolutions of 64 5x5 kernels, two locally-connected "
            "layers of 32 3x3, fc10), random 24x24 crops and flips, ten crops in the test. Full: 470 epochs; in "
            "miniature: 16, the last 4 at lower rates.",
            CIFAR,
            "2 to 3 hours on two processor cores a network and seed, in mixed_bfloat16",
            "5 minutes a network and seed, in mixed_bfloat16",
            "45 minutes a network and seed",
            float16=False,
            without=("gpus", "cache"),
        ),
        Experiment(
            "initialisation",
            "why so many reproductions stay at a loss of 6.9",
            "section 5",
            "Weights from N(0, 0.01), biases of 1 in conv2, conv4, conv5, fc6 and fc7 accelerate the early stages of "
            "learning.",
            "The full network initialised as source, as in the prose (paper), as in Caffe (caffe), and as in the prose "
            "on pixels of variance 1 (unit-variance): signal and gradient of every layer on a first batch, then 120 "
            "steps of 128 images each (full: 2,000).",
            PREPARED,
            "2 GPU-hours",
            "5 minutes a variant and seed in float32, 2 in mixed_bfloat16",
            "10 minutes a variant and seed",
            log="net 145 initialises conv3, conv4 and conv5 with 0.03",
            seeds=1,
            parts=True,
            float16=False,
            without=("epochs", "gpus"),
        ),
        Experiment(
            "modern",
            "what has been learnt since 2012",
            "",
            "With the same layers and parameters the recipe modern, with its initialisation, schedule, label "
            "smoothing, averaging, augmentation, less dropout and smaller batches, has a lower error than source in "
            "half the epochs.",
            "The recipe source; the recipe modern in half the epochs; and modern without each of its choices: "
            "without-initialisation, without-schedule, without-label-smoothing, without-averaging, "
            "without-augmentation, without-less-dropout, without-smaller-batches; --only modern trains none of these. "
            "Ten crops. In miniature: quickstart, 20 epochs, and the same choices, 10.",
            PREPARED,
            "about 250 GPU-hours of 2012 for source and half of it for each of the others, a seed",
            "3 minutes for source and 1.5 for each of the others, a seed, on 3,000 images",
            "35 to 75 minutes for source and 18 to 37 for each of the others, a seed, on 9,500 images",
            parts=True,
        ),
    )
}
