"""Schemes by name and by family; every one says what it computes."""

from __future__ import annotations

import inspect
import re

import pytest

from sepfactor.errors import OptionError
from sepfactor.factor import SCHEMES, select_schemes


def test_names_are_unique_and_typeable() -> None:
    names = [scheme.name for scheme in SCHEMES]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)


def test_forms_tell_the_schemes_apart() -> None:
    forms = [scheme.form for scheme in SCHEMES]
    assert all(forms)
    assert len(set(forms)) == len(forms)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_a_scheme_is_selected_by_its_name(scheme) -> None:
    assert select_schemes([scheme.name]) == (scheme,)


@pytest.mark.parametrize("family", ["spatial", "channel"])
def test_a_family_selects_its_variants(family: str) -> None:
    chosen = [scheme.name for scheme in select_schemes([family])]
    assert chosen == [s.name for s in SCHEMES if s.name.startswith(f"{family}-")]
    assert len(chosen) >= 2


def test_no_name_means_all_and_order_is_the_registrys() -> None:
    assert select_schemes([]) == SCHEMES
    assert select_schemes([s.name for s in reversed(SCHEMES)]) == SCHEMES
    assert select_schemes(["spatial", "spatial-vertical"]) == select_schemes(["spatial"])


@pytest.mark.parametrize("name", ["cp", "Spatial", "depthwise", "asymmetric", ""])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(OptionError) as caught:
        select_schemes(["spatial", name])
    message = str(caught.value)
    assert repr(name) in message
    assert all(scheme.name in message for scheme in SCHEMES)
    assert "spatial and channel" in message


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_the_file_of_a_scheme_opens_with_its_mathematics(scheme) -> None:
    text = inspect.getmodule(type(scheme)).__doc__
    assert text is not None
    formula = "≈" in text
    source = "arXiv" in text
    exact = "Exact" in text  # nothing is approximated: no formula and no paper to cite
    assert formula or source or exact
