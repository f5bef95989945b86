"""The least loaded member, as a plain search over all would find it."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.least_loaded import LeastLoaded

CHANGES = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-3, 5)), max_size=200)


@given(CHANGES)
def test_the_least_loaded_is_the_one_that_a_search_finds(changes: list[tuple[str, int]]) -> None:
    loads = LeastLoaded.of("abcd")
    plain = dict.fromkeys("abcd", 0)
    for member, by in changes:
        loads.change(member, by)
        plain[member] += by
        least = loads.least()
        assert least is not None
        assert (loads.load(least), loads.load(member)) == (min(plain.values()), plain[member])


def test_equal_loads_take_turns() -> None:
    loads = LeastLoaded.of("abc")
    found = []
    for _ in range(6):
        least = loads.least()
        assert least is not None
        found.append(least)
        loads.change(least, 1)
    assert "".join(found) == "abcabc"


def test_a_member_that_is_set_aside_is_not_found_until_it_is_back() -> None:
    loads = LeastLoaded.of("ab")
    loads.set_aside("a")
    loads.change("a", 2)
    loads.change("b", 5)
    assert (loads.least(), loads.finds("a")) == ("b", False)
    loads.include("a")
    assert loads.least() == "a"
    loads.set_aside("a")
    loads.set_aside("b")
    assert loads.least() is None


def test_a_removed_member_is_gone_for_good() -> None:
    loads = LeastLoaded.of("ab")
    loads.remove("a")
    loads.change("a", -1)
    assert (loads.least(), loads.members) == ("b", ["b"])


def test_what_no_longer_counts_does_not_pile_up() -> None:
    loads = LeastLoaded.of("ab")
    for _ in range(10_000):
        loads.change("a", 1)
    assert len(loads._heap) < 200
