"""The process that reads a devkit's meta.mat: `python -m alexnet_keras.data.sources.meta_mat`.

SciPy's reader trusts what such a file says of itself, and a damaged one can end the process. The file comes in by
stdin; one line of JSON goes out: {"synsets": [[id, WordNet id, words, images, children], ...]} or {"error": ...}.
"""

import io
import json
import sys


def main() -> None:
    """The process."""
    import numpy as np
    from scipy.io import loadmat

    try:
        contents = io.BytesIO(sys.stdin.buffer.read())
        rows = np.atleast_1d(loadmat(contents, squeeze_me=True, variable_names=["synsets"])["synsets"])
        ids = next(field for field in rows.dtype.names or () if field.endswith("_ID"))
        found = [
            [int(row[ids]), str(row["WNID"]), str(row["words"]), int(row["num_train_images"]), int(row["num_children"])]
            for row in rows
        ]
        told: dict[str, object] = {"synsets": found}
    except Exception as error:  # SciPy raises whatever the damage leads it to
        told = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
