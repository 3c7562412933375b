"""Ten crops, by hand."""

import numpy as np
import tensorflow as tf

from alexnet_keras.evaluation.crops import centre, corners, ten_crop

# Every pixel is a number of its own.
IMAGES = np.arange(2 * 256 * 256 * 3).reshape(2, 256, 256, 3)


def test_the_ten_views_are_the_corners_the_centre_and_their_mirror_images_in_the_released_order():
    views = [view.numpy() for view in ten_crop(tf.constant(IMAGES), 224)]
    corners = [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]
    assert len(views) == 10
    for index, (y, x) in enumerate(corners):
        crop = IMAGES[:, y : y + 224, x : x + 224]
        np.testing.assert_array_equal(views[index], crop)
        np.testing.assert_array_equal(views[index + 5], crop[:, :, ::-1])


def test_the_centre_view():
    (view,) = centre(tf.constant(IMAGES), 224)
    np.testing.assert_array_equal(view, IMAGES[:, 16:240, 16:240])


def test_views_of_other_sizes_and_of_an_image_that_is_no_square():
    assert corners(227, 224) == [(0, 0), (0, 3), (1, 1), (3, 0), (3, 3)]
    assert corners(5, 5) == [(0, 0)] * 5
    wide = tf.constant(IMAGES[:, :100, :200])
    (view,) = centre(wide, 60)
    np.testing.assert_array_equal(view, IMAGES[:, 20:80, 70:130])
