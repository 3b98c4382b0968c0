import pickle

import pytest

from musicnn_zoo.errors import (
    ArgumentError,
    AudioError,
    DeviceError,
    MissingPackageError,
    MusicnnZooError,
    OutputError,
    UnknownNameError,
    WeightsError,
)


@pytest.mark.parametrize(
    "kind", [ArgumentError, AudioError, DeviceError, OutputError, UnknownNameError, WeightsError]
)
def test_one_class_catches_every_error(kind):
    assert issubclass(kind, MusicnnZooError)


@pytest.mark.parametrize("kind", [ArgumentError, DeviceError, UnknownNameError])
def test_wrong_arguments_are_value_errors(kind):
    assert issubclass(kind, ValueError)


@pytest.mark.parametrize("kind", [AudioError, OutputError, WeightsError])
def test_wrong_files_are_no_argument_errors(kind):
    assert not issubclass(kind, ValueError)


@pytest.mark.parametrize(
    "error",
    [UnknownNameError("model", "n", ["m"]), MissingPackageError("no ray"), AudioError("a.mp3: no")],
)
def test_errors_go_to_other_processes_as_they_are(error):
    error.place = "here"
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), other.place) == (type(error), str(error), "here")


def test_an_unknown_name_suggests_the_nearest():
    error = UnknownNameError("model", "MTT_musicn", ["MSD_vgg", "MTT_musicnn", "weights"])
    assert str(error) == "unknown model 'MTT_musicn'; did you mean MTT_musicnn?"


def test_the_suggestion_disregards_case_and_keeps_the_spelling_of_the_name():
    error = UnknownNameError("model", "mtt_VGG", ["MTT_vgg", "other"])
    assert "did you mean MTT_vgg?" in str(error)


def test_at_most_three_names_are_suggested():
    error = UnknownNameError("layer", "cnn", ["cnn1", "cnn2", "cnn3", "cnn4"])
    assert str(error).count(" or ") == 2


def test_without_a_near_name_all_are_listed_in_order():
    error = UnknownNameError("block", "zzzzzzzz", ["vgg", "mlp"])
    assert str(error) == "unknown block 'zzzzzzzz'; known are: mlp, vgg"


def test_without_any_names_it_says_so():
    assert str(UnknownNameError("option", "x", [])) == "unknown option 'x'; there are none here"


def test_names_may_come_from_a_generator():
    assert "did you mean alpha?" in str(UnknownNameError("x", "alpa", (n for n in ["alpha"])))
