"""YAML as people write it: values only, and whatever is wrong with it as one line."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tl_jax.visible import visible


def read_yaml(text: str | bytes) -> Any:
    """The value that a YAML text stands for.

    Raises:
        ValueError: it is not UTF-8, not YAML, gives a key twice, is too deep, or says of a value that it is something
            else than it is.
    """
    import yaml  # here alone, so that what never reads YAML needs the standard library only

    try:
        return yaml.load(text.decode("utf-8-sig") if isinstance(text, bytes) else text, _loader())
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8: {error.reason} at byte {error.start}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"is not YAML: {_in_one_line(error)}") from None
    except RecursionError:
        raise ValueError("is not YAML that can be read: nested too deeply") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # !!int x, 2026-99-99, !!timestamp 1
        raise ValueError(f"is not YAML: a value is not what it is said to be: {_in_one_line(error)}") from None


@lru_cache(maxsize=1)
def _loader() -> Any:
    """PyYAML's safe loader, which by itself takes the last value of a key that is given twice, without a word."""
    import yaml

    class UniqueKeys(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            keys = set[tuple[str, str]]()
            for key, _ in node.value:
                said = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
                if said in keys:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice,", problem_mark=key.start_mark)
                keys |= {said} if said else set()
            return node

    return UniqueKeys


def _in_one_line(error: Exception) -> str:
    return visible(" ".join(str(error).replace('in "<unicode string>", ', "at ").split()))


def yaml_or_text(text: str) -> Any:
    """The value that a YAML text stands for, or the text itself where it is no YAML."""
    try:
        return read_yaml(text)
    except ValueError:
        return text
