"""Which test has which fact: every number and rule of the two sources, and of the published networks, in a row.

The facts are the network (1), where the paper and the released code differ (2.1 to 2.16), what both share (2) and the
networks of Caffe and torchvision (4).
"""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

ROWS = {
    "1 shapes and kernels of every layer, per tower": ["facts/test_network.py::test_shapes_of_every_layer"],
    "1 which layers read both towers": [
        "facts/test_network.py::test_what_reads_the_other_tower",
        "network/test_model.py::test_the_first_towers_do_not_read_each_other",
    ],
    "1 each tower on a device of its own, fc8 on the first": [
        "network/test_model.py::test_towers_live_and_compute_on_their_own_devices_forward_and_backward"
    ],
    "1 the forward pass, at its numbers and at others": ["facts/test_network.py::test_the_forward_pass_is_numpys"],
    "1 60,965,224 parameters": ["network/test_model.py::test_the_full_network_has_60_965_224_parameters"],
    "1 62,378,344 if nothing were split": ["network/test_model.py::test_unsplit_it_would_have_62_378_344_parameters"],
    "1 neurons and multiply-adds, layer by layer": ["facts/test_network.py::test_neurons_and_multiply_adds"],
    "1 1.45 GFLOP forward, 4.13 a training step": [
        "recipes/test_geometry.py::test_the_forward_pass_is_two_operations_a_multiply_add",
        "recipes/test_geometry.py::test_training_adds_two_gradients_and_none_for_the_image",
    ],
    "2.1 224 to 55: three zeros at the bottom and right": [
        "facts/test_network.py::test_eleven_by_eleven_kernels_at_stride_four",
        "facts/test_network.py::test_the_forward_pass_is_numpys",
    ],
    "2.2 alpha of the sum, alpha of the mean": [
        "facts/test_normalization.py::test_local_response_normalization_and_its_gradient",
        "facts/test_normalization.py::test_the_recipes_normalise_five_maps_of_one_tower",
        "facts/test_normalization.py::test_a_recipe_reaches_every_number_of_the_normalisation_across_maps",
        "layers/test_layers_against_numpy.py::test_local_response_normalization_agrees_with_tensorflows_own",
    ],
    "2.3 windows inside one tower": [
        "facts/test_normalization.py::test_the_recipes_normalise_five_maps_of_one_tower",
        "layers/test_layers_against_numpy.py::test_windows_of_a_tower_never_reach_into_the_other",
    ],
    "2.4 order of the first layer": [
        "facts/test_network.py::test_the_forward_pass_is_numpys",
        "network/test_model.py::test_the_recipes_order_their_layers_as_their_sources_do",
    ],
    "2.5 order of the second layer, spatial normalisation": [
        "facts/test_normalization.py::test_spatial_normalization_and_its_gradient",
        "facts/test_normalization.py::test_source_divides_each_map_by_its_5x5_neighbourhood",
        "facts/test_normalization.py::test_a_recipe_reaches_every_number_of_the_spatial_normalisation",
        "facts/test_normalization.py::test_only_the_released_code_has_a_spatial_normalisation",
    ],
    "2.6 initial weights": [
        "facts/test_network.py::test_the_initial_weights_are_normal_and_the_biases_constant",
        "facts/test_initial_values.py::test_the_initialisers_and_biases_of_every_layer",
    ],
    "2.7 initial biases": ["facts/test_initial_values.py::test_the_initialisers_and_biases_of_every_layer"],
    "2.8 learning rates": [
        "facts/test_learning_rates.py::test_source_is_net_145_in_each_of_91_epochs",
        "facts/test_learning_rates.py::test_steps_divide_by_the_factor_of_the_recipe",
        "facts/test_learning_rates.py::test_the_paper_has_one_rate_and_colour_noise_to_the_end",
        "training/test_schedule.py::test_the_paper_divides_all_rates_when_the_error_stalls_three_times",
    ],
    "2.9 the update, decay of weights and of biases": [
        "facts/test_update_rule.py::test_five_steps_of_a_recipes_optimizer",
        "training/test_optimizer.py::test_a_hundred_steps_are_the_formula_for_weights_biases_and_a_frozen_layer",
        "training/test_optimizer.py::test_it_is_not_kerass_decoupled_decay",
    ],
    "2.10 colour noise": [
        "facts/test_color_noise.py::test_the_papers_eigenvalues_come_out_as_55_5_and_4_8_and_1_1",
        "facts/test_color_noise.py::test_of_imagenets_own_statistics_an_eigenvalue",
        "facts/test_color_noise.py::test_the_released_code_takes_the_standard_deviations",
        "facts/test_color_noise.py::test_image_and_noise_are_divided_by_one_plus_the_noise",
        "facts/test_color_noise.py::test_where_it_is_switched_off_nothing_is_added_and_nothing_divided",
        "layers/test_layers_against_numpy.py::test_color_noise_is_one_color_an_image_made_of_the_components",
        "training/test_trainer.py::test_the_colour_noise_ends_when_the_schedule_says",
    ],
    "2.11 crops, flips and who shares them": [
        "facts/test_crops.py::test_offsets_are_0_to_32_in_each_axis_and_with_flips_there_are_2178_views",
        "facts/test_crops.py::test_one_crop_and_flip_serve_a_group_of_consecutive_images_whatever_the_batch",
        "facts/test_crops.py::test_the_source_shares_a_crop_among_32_images_and_the_others_do_not",
    ],
    "2.12 the centre of the mean image": [
        "facts/test_crops.py::test_the_centre_of_the_mean_image_is_subtracted_whatever_the_crop"
    ],
    "2.13 ten crops, their order and their mean": [
        "evaluation/test_ten_crops.py::test_the_ten_views_are_the_corners_the_centre_and_their_mirror_images",
        "evaluation/test_errors.py::test_ten_crop_probabilities_are_the_mean_of_ten_forward_passes",
        "facts/test_crops.py::test_the_order_of_ten_crops_of_227_pixels",
    ],
    "2.14 dropout": [
        "facts/test_dropout.py::test_what_is_kept_stays_as_it_is_and_at_test_time_all_is_times_the_share_kept",
        "facts/test_dropout.py::test_neurons_images_towers_and_calls_have_masks_of_their_own",
        "facts/test_dropout.py::test_the_recipes_leave_out_half_of_fc6_and_fc7",
        "facts/test_dropout.py::test_a_recipe_reaches_the_rate_of_each_layer",
    ],
    "2.15 ensembles": [
        "facts/test_ensembles.py::test_an_ensemble_is_the_weighted_average_of_its_members_probabilities",
        "facts/test_ensembles.py::test_searched_weights_are_multiples_of_a_twentieth_from_0_to_1",
        "facts/test_ensembles.py::test_every_twentieth_is_tried",
        "facts/test_ensembles.py::test_the_search_counts_top_5_errors",
        "evaluation/test_ensemble.py::test_the_mean_is_the_mean_of_the_probabilities",
    ],
    "2.16 the sixth convolution, pre-training and fine-tuning": [
        "facts/test_network.py::test_the_sixth_convolution_of_net_146",
        "experiments/test_variants.py::test_pre_training_slows_down_what_was_copied",
        "experiments/test_variants.py::test_fine_tuning_is_slower_but_for_the_classifier",
    ],
    "2 ImageNet's colours: eigenvalues, standard deviations, components": [
        "facts/test_color_noise.py::test_the_papers_eigenvalues_come_out_as_55_5_and_4_8_and_1_1",
        "facts/test_color_noise.py::test_the_released_code_takes_the_standard_deviations",
    ],
    "2 batches of 128, momentum 0.9": [
        "facts/test_update_rule.py::test_batches",
        "facts/test_update_rule.py::test_five_steps_of_a_recipes_optimizer",
    ],
    "2 pixels stay on the scale of 0..255": [
        "facts/test_crops.py::test_the_centre_of_the_mean_image_is_subtracted_whatever_the_crop"
    ],
    "2 spread of the logits at the start": ["facts/test_initial_values.py::test_the_spread_of_the_logits"],
    "2 net 170's schedule": [
        "facts/test_learning_rates.py::test_the_dexp_schedule_of_net_170_over_95_epochs",
        "facts/test_learning_rates.py::test_dexp_has_plateaus_of_equal_length_down_to_the_factor",
    ],
    "4 Caffe's AlexNet and CaffeNet": [
        "facts/test_published_networks.py::test_caffe_and_caffenet",
        "facts/test_published_networks.py::test_the_summaries_tell_the_published_accuracies",
        "facts/test_normalization.py::test_caffe_has_k_1_divides_by_n_and_looks_across_the_towers",
        "facts/test_initial_values.py::test_the_initialisers_and_biases_of_every_layer",
        "interop/test_caffe_weights.py::test_an_imported_caffemodel_answers_as_caffe_does",
        "interop/test_caffe_weights.py::test_the_first_kernels_are_rgb",
    ],
    "4 torchvision's network, 61,100,840 parameters": [
        "facts/test_published_networks.py::test_torchvision_has_61_100_840_parameters",
        "facts/test_published_networks.py::test_torchvision_is_one_tower_of_64_192_384_256_256_without_normalisation",
        "facts/test_published_networks.py::test_the_summaries_tell_the_published_accuracies",
        "interop/test_torchvision_weights.py::test_a_file_that_pytorch_saved_answers_as_in_pytorch",
    ],
    "4 the order of ImageNet's classes, Caffe's and the devkit's": [
        "data/test_ilsvrc_source.py::test_ilsvrc_order_is_the_devkits"
    ],
}


def test_no_row_is_missing():
    rows = {row.split()[0] for row in ROWS}
    assert rows == {"1", "2", "4", *(f"2.{number}" for number in range(1, 17))}
    named = {name.partition("::")[0] for names in ROWS.values() for name in names}
    own = {f"facts/{file.name}" for file in Path(__file__).parent.glob("test_*.py")}
    assert own - named == {"facts/test_rows.py"}


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_are_there(row):
    for name in ROWS[row]:
        file, _, test = name.partition("::")
        text = (TESTS / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {test}\w*\(", text, re.MULTILINE), name
