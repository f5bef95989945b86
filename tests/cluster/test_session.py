"""A Ray that does not come up in time: what the user reads."""

import inspect

import pytest

from cluster.errors import ClusterError
from cluster.session import _START_TOO_SLOW, _start_in_time


def test_a_start_that_is_too_slow_says_what_to_do() -> None:
    with pytest.raises(ClusterError, match="this machine is busy"), _start_in_time():
        raise Exception(f"The current node {_START_TOO_SLOW}. The GCS has become overloaded.")


def test_other_errors_of_the_start_stay_as_they_are() -> None:
    with pytest.raises(ConnectionError, match="no route"), _start_in_time():
        raise ConnectionError("no route")


def test_ray_still_words_it_so() -> None:
    from ray._private.node import Node

    assert _START_TOO_SLOW in inspect.getsource(Node.__init__)
