"""Files and failures from a seed."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import replace
from itertools import islice

from common.runtime.etl_log import ERROR_TYPES
from services.simulator.workload import failures, files, mean_distance_seconds


def test_one_seed_makes_one_workload() -> None:
    for make in (lambda seed: files(seed, 50, 500), failures):
        first, same, other = (list(islice(make(seed), 100)) for seed in (1, 1, 2))
        assert first == same
        assert first != other


def test_files_have_names_of_their_own_and_sizes_within_bounds() -> None:
    made = list(islice(files(1, 50, 500), 2000))
    assert len({file.name for file in made}) == 2000
    assert min(file.records for file in made) == 50
    assert max(file.records for file in made) == 500
    assert statistics.mean(file.records for file in made) > 250
    assert statistics.mean(file.time_factor for file in made) > 0.98
    assert statistics.mean(file.time_factor for file in made) < 1.02
    assert all(file.size_bytes > 100 * file.records for file in made)


def test_files_can_all_be_alike() -> None:
    assert {file.records for file in islice(files(1, 7, 7), 20)} == {7}


def test_failures_are_of_five_types_about_as_far_apart_as_meant() -> None:
    made = list(islice(failures(1), 2000))
    counted = Counter(failure.error_type for failure in made)
    assert set(counted) == set(ERROR_TYPES)
    assert min(counted.values()) > 100
    distances = [failure.distance for failure in made]
    assert min(distances) >= 0.5
    assert max(distances) <= 1.5
    assert abs(statistics.mean(distances) - 1) < 0.02
    assert all(0 < failure.at_share <= 0.5 for failure in made)


def test_every_type_says_what_happened_to_which_file() -> None:
    file = next(files(1, 50, 500))
    one = next(failures(1))
    words = {
        error_type: replace(one, error_type=error_type, draw=0.999999).message(file)
        for error_type in ERROR_TYPES
    }
    assert len(set(words.values())) == 5
    assert file.name in words["malformed_file"]
    assert f"{file.records} of {file.records} records" in words["validation_failed"]
    assert file.source in words["connection_timeout"]


def test_no_failures_are_infinitely_far_apart() -> None:
    assert mean_distance_seconds(2) == 30
    assert mean_distance_seconds(0) == float("inf")
