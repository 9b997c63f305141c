"""Filters and metadata at random: few keys and few values, so that they meet."""

from __future__ import annotations

from hypothesis import strategies as st

from hybrid_core import AllOf, And, AnyOf, Contains, Eq, Exists, Gt, Gte, In, Lt, Lte, Ne, Nin, Not, Or, TextMatch

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, -1.5, 2**63, float(2**63), 2**63 + 1])
    | st.sampled_from(["", "a", "b"])
)
ENTRIES = st.dictionaries(st.sampled_from("abc"), VALUES | st.lists(VALUES, max_size=3), max_size=3)
KEYS = st.sampled_from("abcd")
ORDERED = st.integers(-3, 3) | st.sampled_from([0.5, "", "a", "b"])
LEAVES = (
    st.one_of(*(st.builds(kind, KEYS, VALUES | st.lists(VALUES, max_size=2)) for kind in (Eq, Ne)))
    | st.builds(Contains, KEYS, VALUES)
    | st.builds(Exists, KEYS)
    | st.builds(TextMatch, KEYS, st.sampled_from(["", "A", "b"]))
    | st.one_of(*(st.builds(kind, KEYS, ORDERED) for kind in (Gt, Gte, Lt, Lte)))
    | st.one_of(*(st.builds(kind, KEYS, st.lists(VALUES, max_size=3)) for kind in (In, Nin, AnyOf, AllOf)))
)
FILTERS = st.recursive(
    LEAVES,
    lambda parts: (
        st.builds(Not, parts)
        | st.lists(parts, max_size=3).flatmap(lambda chosen: st.sampled_from([And(*chosen), Or(*chosen)]))
    ),
    max_leaves=5,
)
