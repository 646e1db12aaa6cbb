"""A field that nobody knows, anywhere in a row of any format, is told; nothing that a file says vanishes."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.thoroughness import examples
from tests.tooluse.readers.examples import EXAMPLES
from tests.tooluse.readers.helpers import lines
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import FORMATS
from tl_jax.tooluse.schema import DataError

ROWS = [
    pytest.param(name, row, id=f"{name}-{number}") for name in EXAMPLES for number, row in enumerate(EXAMPLES[name])
]
FREE = {
    *("arguments", "args", "input", "wild", "accepted", "default", "enum", "example", "example_value"),
    *("meta", "metadata", "info", "response", "artifact", "extra_info", "generationConfig", "properties"),
    *("response_metadata", "usage_metadata", "usage", "raw_data", "returns", "reward_info", "task", "results"),
}
"""Fields whose value is anybody's: arguments, values, names of parameters, notes about a row."""
FREE_IN = {
    "anthropic": r"system/0/cache_control",
    "ai_sdk": r"tools|.*/step-start|.*/output|.*/metadata",
    "bedrock": r".*/cachePoint|toolConfig/toolChoice.*|inferenceConfig|.*/toolResult/content/0/json",
    "haystack": r".*/_?meta|.*/extra",
    "cohere": r".*/outputs/0|.*/parameters|tools/0/parameter_definitions",  # by name, and what tools said
    "llamaindex": r".*/additional_information|.*/tool_kwargs",
    "sharegpt": r"conversations/3/value.*",  # what a tool said
    "toolace": r"conversations/2/value.*",
    "toolbench": r"answer_generation/train_messages/1/4/content.*",
    "toucan": r"question_quality_assessment.*",
    "xlam": r"tools/json/0/parameters",  # parameters by name
    "bfcl_v4": r"ground_truth/\d+(/.*)?|initial_config.*|missed_function",  # arguments and classes by name
    "apibank": r"apis/\d+/output/output.*",
    "tooltalk": r"conversation/1/apis/\d+/request/parameters",
    "toolalpaca": r"Authentication|Function_(Description|Projection)|Documentation.*|Golden_Answers.*Action_Input.*",
}
"""Format -> places of its examples where anything may stand: arguments, results, an API's own documentation."""
NAMES = st.from_regex(r"[a-z]{1,6}_unheard_of", fullmatch=True)


def objects(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every object of a row whose fields the format lays down; ``json`` enters a text that is JSON."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            inside = json.loads(value)
        except ValueError:
            return []
        return objects(inside, (*way, "json"))
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in objects(item, (*way, i))]
    if not isinstance(value, dict):
        return []
    inner = [found for key, item in value.items() if key not in FREE for found in objects(item, (*way, key))]
    properties = value.get("properties")
    if isinstance(properties, dict):
        inner += [found for key, item in properties.items() for found in objects(item, (*way, "properties", key))]
    return [way, *inner]


def put(value: Any, way: tuple[Any, ...], name: str) -> Any:
    """A copy of the row with a field more in the object at the end of the way."""
    if not way:
        return {**value, name: 1}
    key, *rest = way
    if key == "json" and isinstance(value, str):
        return json.dumps(put(json.loads(value), tuple(rest), name))
    result = copy.copy(value)
    result[key] = put(value[key], tuple(rest), name)
    return result


def laid_down(name: str, row: Any) -> list[tuple[Any, ...]]:
    """The way to every object of a format's example in which an unknown field has to be told."""
    free = re.compile(FREE_IN.get(name, r"(?!)"))
    return [way for way in objects(row) if not free.fullmatch("/".join(map(str, way)))]


def test_nearly_everything_is_laid_down() -> None:
    for name, rows in EXAMPLES.items():
        assert all(() in laid_down(name, row) for row in rows), name
    assert sum(len(laid_down(name, row)) for name, rows in EXAMPLES.items() for row in rows) > 250


@pytest.mark.fuzz
@pytest.mark.parametrize(("name", "row"), ROWS)
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_an_unknown_field_anywhere_is_always_told(tmp_path: Path, name: str, row: Any, data: st.DataObject) -> None:
    way, field = data.draw(st.sampled_from(laid_down(name, row))), data.draw(NAMES)
    path = lines(tmp_path / "clean.jsonl", put(row, way, field))
    read = FORMATS[name].trajectories or FORMATS[name].cases
    assert read
    with pytest.raises(DataError) as caught:
        list(read(path, None))
    assert field in str(caught.value), caught.value
    assert "clean.jsonl" in str(caught.value)
    notes = Notes("drop")
    with notes.kept():
        assert list(read(path, None))
    assert sum(notes.dropped.values()) >= 1
    assert all(field in where for where in notes.dropped)
