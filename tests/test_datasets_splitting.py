import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from musicnn_zoo import ArgumentError
from musicnn_zoo.datasets import SPLITS, Dataset, DatasetError, DatasetWarning, split
from musicnn_zoo.datasets.splitting import _cover

pytestmark = pytest.mark.filterwarnings("ignore::musicnn_zoo.datasets.DatasetWarning")


def make(labels, groups=None) -> Dataset:
    labels = np.array(labels, bool)
    return Dataset(
        name="toy",
        tags=tuple(f"tag{column}" for column in range(labels.shape[1])),
        paths=tuple(f"{row}.wav" for row in range(len(labels))),
        labels=labels,
        groups=groups,
    )


def classes(*counts: int) -> Dataset:
    return make(np.repeat(np.eye(len(counts)), counts, axis=0))


@st.composite
def data_sets(draw) -> Dataset:
    """Some tracks with any tags in any groups, each tag on some track."""
    n_tracks, n_tags = draw(st.integers(1, 25)), draw(st.integers(1, 5))
    labels = draw(
        st.lists(
            st.lists(st.booleans(), min_size=n_tags, max_size=n_tags),
            min_size=n_tracks, max_size=n_tracks,
        )
    )  # fmt: skip
    assume(np.array(labels).any(axis=0).all())
    names = st.sampled_from("ABCDEFGH")
    groups = draw(st.none() | st.lists(names, min_size=n_tracks, max_size=n_tracks))
    return make(labels, None if groups is None else tuple(groups))


FRACTIONS = [
    (0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.7, 0.3, 0), (0.7, 0, 0.3), (1, 0, 0), (0.1, 0.1, 0.8),
]  # fmt: skip


@settings(max_examples=150)
@given(data_sets(), st.sampled_from(FRACTIONS), st.sampled_from([None, "track"]), st.integers(0, 5))
def test_nothing_is_lost_nothing_leaks_and_train_has_every_tag(
    dataset, fractions, by, seed
) -> None:
    try:
        divided = split(dataset, fractions, by=by, seed=seed)
    except DatasetError:
        units = len(dataset) if by == "track" or not dataset.groups else len(set(dataset.groups))
        assert units < len(dataset.tags) + 2
        return
    assert divided.paths == dataset.paths
    np.testing.assert_array_equal(divided.labels, dataset.labels)
    wanted = {name for name, fraction in zip(SPLITS, fractions, strict=True) if fraction}
    assert set(divided.split_sizes) == wanted
    parts = [set(divided.subset(name).paths) for name in wanted]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(dataset)
    assert (divided.subset("train").positives > 0).all()
    if by is None:
        assert divided.leaking_groups == ()
    assert split(dataset, fractions, by=by, seed=seed).splits == divided.splits


@given(st.lists(st.integers(3, 40), min_size=1, max_size=6), st.integers(0, 3))
def test_classes_keep_their_proportions(counts: list[int], seed: int) -> None:
    dataset = classes(*counts)
    assume(len(dataset) >= 20)
    divided = split(dataset, (0.6, 0.2, 0.2), seed=seed)
    for name, fraction in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
        part = divided.subset(name)
        assert abs(part.positives - fraction * dataset.positives).max() < 2
        assert abs(len(part) - fraction * len(dataset)) <= max(3, len(counts))
        assert part.positives.min() > 0


def test_round_numbers_come_out_exactly() -> None:
    divided = split(classes(100, 20, 50))
    assert [divided.subset(name).positives.tolist() for name in SPLITS] == [
        [80, 16, 40], [10, 2, 5], [10, 2, 5],
    ]  # fmt: skip


def test_small_classes_do_not_empty_a_part() -> None:
    divided = split(classes(*[3] * 8))
    assert divided.split_sizes == {"train": 8, "validation": 8, "test": 8}


@pytest.mark.parametrize("seed", range(10))
def test_each_part_of_a_small_set_has_each_class_or_it_is_said(seed: int) -> None:
    whole = split(classes(7, 4, 3), seed=seed)
    assert all(whole.subset(name).positives.min() > 0 for name in SPLITS)
    assert whole.report["absent_from_split"] == ()
    with pytest.warns(DatasetWarning, match=r"1 tag without a track in one of the splits"):
        lacking = split(classes(7, 4, 2), seed=seed)
    assert all(lacking.subset(name).positives[:2].min() > 0 for name in SPLITS)
    grouped = make(np.repeat(np.eye(2), (6, 6), axis=0), tuple("aabbccddeeff"))
    divided = split(grouped, seed=seed)
    assert divided.leaking_groups == ()
    assert [divided.subset(name).positives.min() for name in SPLITS] == [2, 2, 2]


def test_rare_tags_of_many_keep_their_proportions() -> None:
    random = np.random.default_rng(0)
    labels = random.random((2000, 20)) < np.geomspace(0.01, 0.5, 20)
    divided = split(make(labels), (0.7, 0.1, 0.2))
    for name, fraction in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        found = divided.subset(name).positives / divided.positives
        np.testing.assert_allclose(found, fraction, atol=0.06)
    assert divided.split_sizes == {"train": 1400, "validation": 200, "test": 400}


def test_groups_keep_the_proportions_as_far_as_they_can() -> None:
    random = np.random.default_rng(1)
    artists = random.integers(0, 120, 1500)
    genre_of = random.integers(0, 4, 120)
    dataset = make(np.eye(4)[genre_of[artists]], tuple(f"artist{n}" for n in artists))
    divided = split(dataset)
    assert divided.leaking_groups == ()
    for name, fraction in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        found = divided.subset(name).positives / divided.positives
        np.testing.assert_allclose(found, fraction, atol=0.04)


@pytest.mark.parametrize("seed", range(8))
def test_large_groups_find_their_place_first(seed: int) -> None:
    groups = ("large",) * 60 + tuple(f"small{n // 2}" for n in range(40))
    divided = split(make(np.ones((100, 1)), groups), (0.6, 0.2, 0.2), seed=seed)
    sizes = divided.split_sizes
    assert abs(sizes["train"] - 60) <= 2
    assert abs(sizes["validation"] - sizes["test"]) <= 2


@pytest.mark.parametrize("seed", range(20))
def test_the_cover_has_every_tag_and_nothing_to_spare(seed: int) -> None:
    labels = np.array([[0, 0, 1, 1, 0, 0], [0, 1, 0, 1, 1, 0], [1, 0, 0, 1, 1, 1],
                       [1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 1, 0]], bool)  # fmt: skip
    chosen = _cover(labels, np.random.default_rng(seed))
    times = labels[chosen].sum(axis=0)
    assert (times > 0).all()
    assert all((times[labels[unit]] == 1).any() for unit in chosen)


def test_groups_are_torn_apart_on_request_only() -> None:
    dataset = make(np.ones((40, 1)), ("one",) * 20 + ("two",) * 20)
    assert set(split(dataset, (0.5, 0, 0.5)).leaking_groups) == set()
    assert split(dataset, (0.5, 0, 0.5), by="track").leaking_groups == ("one", "two")
    assert split(dataset, (0.5, 0, 0.5), by="group").leaking_groups == ()


def test_the_seed_decides() -> None:
    dataset = classes(30, 30)
    assert split(dataset, seed=1).splits == split(dataset, seed=1).splits
    assert split(dataset, seed=1).splits != split(dataset, seed=2).splits


def test_a_tag_that_validation_or_test_lack_is_told() -> None:
    with pytest.warns(
        DatasetWarning, match=r"2 tags without a track in one of the splits"
    ) as caught:
        divided = split(classes(50, 1))
    assert caught[0].filename == __file__
    assert divided.report["absent_from_split"] == ("tag1 in validation", "tag1 in test")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (
            classes(1, 1, 1),
            r"3 tracks are too few .*'tag0', 'tag1', 'tag2' is in a single track",
        ),
        (classes(2), "2 tracks are too few"),
        (make(np.ones((9, 1)), ("a",) * 5 + ("b",) * 4), "2 groups are too few"),
        (make([[1, 0]] * 20), "no track has 'tag1', so train cannot have it"),
    ],
)
def test_a_split_that_is_impossible_is_an_error(dataset: Dataset, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        split(dataset)


@pytest.mark.parametrize(
    "fractions",
    [
        (0.8, 0.2),
        (0.8, 0.1, 0.2),
        (1.1, -0.1, 0),
        (0, 0.5, 0.5),
        (float("nan"), 0.5, 0.5),
        (8, 1, 1),
    ],
)
def test_fractions_must_add_up(fractions) -> None:
    with pytest.raises(ArgumentError, match="add up to 1"):
        split(classes(20, 20), fractions)


def test_refuses_to_split_by_groups_that_are_not_known() -> None:
    with pytest.raises(ArgumentError, match="has no groups"):
        split(classes(20, 20), by="group")
    with pytest.raises(ArgumentError, match="by must be one of track, group"):
        split(classes(20, 20), by="artist")
