import math

import pytest

from latentgraph.needs import need


def test_what_is_there_is_returned() -> None:
    assert need("math", "to count", "vision") is math


def test_what_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(ImportError, match=r"no_such is needed to fly: .*'latentgraph\[vision\]'"):
        need("no_such", "to fly", "vision")
