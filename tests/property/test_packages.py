"""Versions of Debian packages are compared as dpkg compares them, whatever they look like."""

from __future__ import annotations

import shutil
import subprocess

from hypothesis import given, settings, strategies as st

from builder.core.packages import sources as control
from tests.support.registry import require

_DIGITS = st.text("0123456789", min_size=1, max_size=4)
_WORDS = st.text("ab~.+z0129", max_size=8)
_REVISIONS = st.one_of(st.just(""), st.text("ab~.+019", min_size=1, max_size=6).map("-{}".format))
_EPOCHS = st.sampled_from(("", "0:", "1:", "02:"))
VERSIONS = st.builds(
    lambda epoch, first, rest, revision: epoch + first + rest + revision,
    _EPOCHS,
    _DIGITS,
    st.one_of(_WORDS, st.builds("{}-{}".format, _WORDS, _DIGITS)),
    _REVISIONS,
)


def dpkg_says(one: str, relation: str, other: str) -> bool:
    done = subprocess.run(
        ["dpkg", "--compare-versions", one, relation, other], check=False, capture_output=True
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


@settings(max_examples=300, deadline=None)
@given(one=VERSIONS, other=VERSIONS)
def test_dpkg_agrees_on_which_version_is_newer(one: str, other: str) -> None:
    require(shutil.which("dpkg"), "the program dpkg")
    found = control.compare_versions(one, other)
    relation = "lt" if found < 0 else "gt" if found > 0 else "eq"
    assert dpkg_says(one, relation, other), f"{one} {relation} {other}"


@given(one=VERSIONS, other=VERSIONS, third=VERSIONS)
def test_versions_have_an_order(one: str, other: str, third: str) -> None:
    assert (control.compare_versions(one, other) > 0) == (control.compare_versions(other, one) < 0)
    low, middle, high = sorted((one, other, third), key=control.version_key)
    assert control.compare_versions(low, middle) <= 0
    assert control.compare_versions(middle, high) <= 0
    assert control.compare_versions(low, high) <= 0
