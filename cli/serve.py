"""`alexnet serve`."""

import signal
import webbrowser
from contextlib import ExitStack, suppress
from threading import Thread
from typing import TYPE_CHECKING

import click

from alexnet_keras.cli import console
from alexnet_keras.cli.options import chosen_run, run_argument, run_data_option, weights_option
from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.search import faiss_library
from alexnet_keras.storage.extras import optional

if TYPE_CHECKING:
    from alexnet_keras.evaluation.classifier import Classifier
    from alexnet_keras.serving.viewer import NearestImages

PORT = 8700


@click.command()
@run_argument
@click.option("--host", default="127.0.0.1", help="Address to serve at; 0.0.0.0 for all of this machine's.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, help="Port; 0 for any that is free.")
@click.option("--ten-crop", is_flag=True, help="Average over ten crops: corners, centre and their mirror images.")
@run_data_option
@weights_option
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
def serve(
    run: str | None, host: str, port: int, ten_crop: bool, data: str | None, weights: str | None, open_browser: bool
) -> None:
    """Show a run at work on a page in the browser.

    Drop images on it, or use the camera. Of each image the page shows the five likeliest classes, a heat map of where
    the network looked (Grad-CAM), the first layer's maps, and the nearest training images, or others that `alexnet
    search build` indexed last. Without RUN, the latest run. Images are at most 32 MiB and 64 megapixels, fewer in
    formats that take more memory to decode, such as 32 in WebP; they stay in memory and are not kept.

    Only this machine reaches the page unless --host says otherwise. Ctrl-C stops it. Needs Flask and Waitress:
    pip install 'alexnet-keras[serve]'.

    Examples:

    \b
        alexnet serve --open
        alexnet serve my-run --ten-crop --port 0
        alexnet serve --weights torchvision
    """
    for library in ("flask", "waitress"):
        optional(library, "serve")
    with suppress(UsageError):
        faiss_library()  # before TensorFlow
    if weights and (run or data):
        raise UsageError(f"--weights has no run and no data: leave {'RUN' if run else '--data'} out.")
    found = None if weights else chosen_run(run)
    if found:
        found.path_of_model()
    from alexnet_keras.serving.server import Server, application, is_loopback, listen

    address = click.get_current_context().with_resource(listen(host, port))  # before what takes seconds
    console.start_tensorflow()
    from alexnet_keras.evaluation.classifier import Classifier
    from alexnet_keras.serving.viewer import Viewer

    classifier = Classifier(found, weights=weights, ten_crop=ten_crop, reporter=console.REPORTER)
    viewer = Viewer(classifier, _nearest(classifier, data))
    server = Server(application(viewer, address.getsockname()[0], console.REPORTER), address)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in what a script starts in the background
    with suppress(KeyboardInterrupt):
        console.result(f"{classifier.name} is at {server.url} until Ctrl-C.")
        if not is_loopback(server.host):
            console.warn(
                "Whoever reaches this address can use the page. Browsers there give it the camera only over HTTPS, "
                "through a proxy of yours."
            )
        if open_browser:
            Thread(target=_open, args=(server.url,), daemon=True).start()
        server.run()  # returns when it is interrupted
    raise KeyboardInterrupt("Stopped.")


def _open(url: str) -> None:
    """Open the page in the browser; one of text returns when it is left, and has to be answered meanwhile."""
    if not webbrowser.open(url):
        console.note(f"No browser could be opened: open {url} in yours.")


def _nearest(classifier: "Classifier", data: str | None) -> "NearestImages | None":
    """Nearest training images, or None where there is no index or no dataset; with --data there have to be."""
    from alexnet_keras.runs import data_of
    from alexnet_keras.search.index import latest_index
    from alexnet_keras.serving.viewer import NearestImages

    if classifier.run is None:
        return None
    try:
        latest_index(classifier.run)
        faiss_library()
        with ExitStack() as opened:  # only data that are shown stay locked while the page is served
            dataset = opened.enter_context(data_of(classifier.run, data, console.REPORTER))
            nearest = NearestImages(classifier.run, classifier.model, dataset)
            click.get_current_context().with_resource(opened.pop_all())
        return nearest
    except (AlexNetError, OSError) as error:
        if data is not None:
            raise
        console.note(f"Without nearest training images: {error}")
        return None
