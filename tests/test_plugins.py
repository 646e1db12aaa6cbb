"""Functions by name and their options, checked against signatures."""

from __future__ import annotations

import doctest
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tl_jax import plugins
from tl_jax.errors import UserError
from tl_jax.plugins import Plugin, bind, resolve

if TYPE_CHECKING:
    from nowhere import Nothing


def test_the_examples() -> None:
    assert doctest.testmod(plugins).failed == 0


class TestResolve:
    def test_finds_a_function(self) -> None:
        assert resolve("tl_jax.plugins:resolve") is resolve
        assert resolve(resolve) is resolve

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("resolve", "write module:function"),
            ("tl_jax.plugins:", "write module:function"),
            ("no_such_package.losses:mine", "there is no module 'no_such_package'"),
            ("tl_jax.plugin:mine", "there is no module 'tl_jax.plugin'"),
            ("tl_jax.plugins:resolv", "did you mean tl_jax.plugins:resolve?"),
            ("tl_jax.plugins:__name__", "is a str, not a function"),
        ],
    )
    def test_says_what_is_wrong(self, path: str, message: str) -> None:
        with pytest.raises(UserError) as error:
            resolve(path)
        assert message in str(error.value)
        assert repr(path) in str(error.value)

    def test_an_import_that_fails_inside_the_module_is_not_hidden(self, tmp_path: Any, monkeypatch: Any) -> None:
        (tmp_path / "broken_losses.py").write_text("import package_that_is_not_there\n")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ModuleNotFoundError, match="package_that_is_not_there"):
            resolve("broken_losses:mine")


@pytest.mark.parametrize("written", ["f", "m:f", {"name": "f", "options": {"a": 1, "b": [1, "x"]}}])
def test_a_plugin_is_written_as_it_was_read(written: Any) -> None:
    assert Plugin.read(written).short() == written
    assert Plugin.read(Plugin.read(written)) == Plugin.read(written)
    assert hash(Plugin.read(written)) == hash(Plugin.read(written))


def test_without_options_the_name_is_enough() -> None:
    assert Plugin.read({"name": "f"}) == Plugin.read({"name": "f", "options": None}) == Plugin("f")
    assert Plugin.read({"name": "f"}).short() == "f"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (3, "write a name, module:function or"),
        ({"options": {"a": 1}}, "has no name"),
        ({"name": "f", "option": {}}, "unknown key 'option'; did you mean 'options'?"),
        ({"name": "f", "options": [1]}, "options must be a mapping"),
        ({"name": "f", "options": {1: 2}}, "options must be a mapping"),
    ],
)
def test_a_plugin_that_is_written_wrongly(written: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        Plugin.read(written)


def smooth(
    model: str,
    batch: str,
    /,
    smoothing: float = 0.1,
    *,
    kind: Literal["uniform", "unigram"] = "uniform",
    floor: int | None = None,
    names: Sequence[str] = (),
    table: Mapping[str, float] | None = None,
    loud: bool = False,
    other: Nothing = None,
) -> tuple[Any, ...]:
    return model, batch, smoothing, kind, floor, names, table, loud, other


def needy(x: float, *, scale: float) -> float:
    return x * scale


def open_ended(*arguments: Any, **options: Any) -> Any:
    return arguments, options


class Table:
    def __init__(self, rows: int, name: str = "t") -> None:
        self.rows, self.name = rows, name


def options(function: str, **given: Any) -> Plugin:
    return Plugin(f"{__name__}:{function}", given)


def test_options_are_keyword_arguments() -> None:
    loss = bind(options("smooth", smoothing=0.5, kind="unigram", floor=2), ("model", "batch"), key="loss")
    assert loss("m", "b")[:5] == ("m", "b", 0.5, "unigram", 2)
    assert bind(options("open_ended", a=1), ("x",), key="reward")(3) == ((3,), {"a": 1})
    made = bind(options("Table", rows=3), (), key="environment")()
    assert (made.rows, made.name) == (3, "t")


def test_without_options_it_is_the_function_itself() -> None:
    assert bind(options("smooth"), ("model", "batch"), key="loss") is smooth


def test_a_name_of_a_table() -> None:
    assert bind(Plugin("n", {"scale": 2}), ("x",), key="loss", function=f"{__name__}:needy")(1.5) == 3.0


def test_values_are_read_as_the_annotation_says() -> None:
    assert bind(options("needy", scale="1e-3"), ("x",), key="k")(2) == 0.002  # what YAML makes of 1e-3
    assert bind(options("open_ended", scale="1e-3"), (), key="k")() == ((), {"scale": "1e-3"})
    for value in (None, 4):
        assert bind(options("smooth", floor=value), ("model", "batch"), key="k")("", "")[4] == value
    assert bind(options("smooth", table={"a": 1}, names=["a"]), ("model", "batch"), key="k")("", "")[5:7] == (
        ["a"],
        {"a": 1},
    )


@pytest.mark.parametrize(
    ("plugin", "arguments", "message"),
    [
        (options("smooth", smothing=1), 2, "loss.options: {0} has no option 'smothing'; did you mean 'smoothing'?"),
        (options("smooth", batch=1), 2, "loss.options: {0} has no option 'batch'; known: smoothing, kind"),
        (options("needy", scale=1, x=2), 2, "loss: {0} is called as function(model, batch), but takes 1 arguments"),
        (options("needy"), 1, "loss: {0} needs the option 'scale'; set loss.options.scale=VALUE"),
        (options("needy", scale="much"), 1, "loss.options.scale: must be float, got 'much'"),
        (options("needy", scale=True), 1, "loss.options.scale: must be float, got True"),
        (Plugin("tl_jax.plugins:resolve", {"a": 1}), 1, "loss.options: {0} takes no options, got 'a'"),
        (Plugin("tl_jax.plugins:nothing"), 1, "loss: '{0}': tl_jax.plugins ("),
    ],
)
def test_options_that_do_not_fit_the_signature(plugin: Plugin, arguments: int, message: str) -> None:
    with pytest.raises(UserError) as error:
        bind(plugin, ("model", "batch")[:arguments], key="loss")
    assert message.format(plugin.name) in str(error.value)


def annotated(
    x: int = 0,
    kind: Literal["a", "b"] = "a",
    flag: bool = False,
    names: list[str] | None = None,
    table: dict[str, int] | None = None,
) -> None:
    """Every simple annotation."""


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("x", 1.5, "int"),
        ("x", True, "int"),
        ("kind", "c", "Literal['a', 'b']"),
        ("flag", 1, "bool"),
        ("names", "a", "list[str] | None"),
        ("table", [], "dict[str, int] | None"),
    ],
)
def test_a_value_of_the_wrong_type(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(UserError) as error:
        bind(options("annotated", **{name: value}), (), key="environment")
    assert str(error.value) == f"environment.options.{name}: must be {wanted}, got {value!r}"
