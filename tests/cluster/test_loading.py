"""Loading: the collector pauses, and what was loaded is not looked at again."""

import gc
from collections.abc import Iterator

import pytest

from cluster.loading import loading


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_nothing_is_collected_while_loading_and_what_was_loaded_never_is() -> None:
    with loading():
        assert not gc.isenabled()
        loaded = [[]]
    assert gc.isenabled()
    assert not any(found is loaded for found in gc.get_objects())


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_goes_on_when_loading_fails() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()
