from __future__ import annotations

from pathlib import Path

from tests.support.architecture import PAGE, page
from tests.support.house import House


def test_the_map_says_what_the_modules_say_of_themselves() -> None:
    text = PAGE.read_text(encoding="utf-8")
    house = House(Path(__file__).parents[2])
    assert page(text, house) == text, "renew it: make architecture"
