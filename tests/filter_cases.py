"""Filters and metadata at random: every operator and every kind of value, few keys and few values, so that they meet."""

from __future__ import annotations

from hypothesis import strategies as st

from hybrid_core import AllOf, And, AnyOf, Contains, Eq, Exists, Gt, Gte, In, Lt, Lte, Ne, Nin, Not, Or, TextMatch

# equal letters in another case, dates as strings, strings that differ only after many bytes
STRINGS = ["", "a", "b", "A", "ß", "SS", "2024-05-01", "2024-05-02T10:00:00", "2024-05-02T10:00:01", "🙂"]
NUMBERS = [0.0, 1.0, -1.5, 2**53, 2**53 + 1, 2**63, float(2**63), 2**63 + 1, 10**300, 5e-324]
VALUES = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(NUMBERS) | st.sampled_from(["", "a", "b"])
    | st.sampled_from(STRINGS)
)  # fmt: skip
NESTED = st.sampled_from([["a"], [1, None], {"k": 1}, {"k": 1.0}, {"k": True}, {}])
LISTS = st.lists(VALUES | NESTED, max_size=3)
ENTRIES = st.dictionaries(st.sampled_from("abc"), VALUES | LISTS | NESTED, max_size=3)
KEYS = st.sampled_from("abcd")
ORDERED = st.integers(-3, 3) | st.sampled_from([0.5, *NUMBERS]) | st.sampled_from(STRINGS)
PARTS = st.sampled_from(["", "A", "b", "ss", "ß", "05-0", "T10:00:01", "🙂"])
LEAVES = (
    st.one_of(*(st.builds(kind, KEYS, VALUES | LISTS | NESTED) for kind in (Eq, Ne)))
    | st.builds(Contains, KEYS, VALUES | NESTED)
    | st.builds(Exists, KEYS)
    | st.builds(TextMatch, KEYS, PARTS, ignore_case=st.booleans())
    | st.one_of(*(st.builds(kind, KEYS, ORDERED) for kind in (Gt, Gte, Lt, Lte)))
    | st.one_of(*(st.builds(kind, KEYS, LISTS) for kind in (In, Nin, AnyOf, AllOf)))
)
FILTERS = st.recursive(
    LEAVES,
    lambda parts: (
        st.builds(Not, parts)
        | st.lists(parts, max_size=3).flatmap(lambda chosen: st.sampled_from([And(*chosen), Or(*chosen)]))
    ),
    max_leaves=5,
)
