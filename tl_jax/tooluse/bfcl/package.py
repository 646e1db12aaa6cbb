"""Where the package `bfcl-eval` is installed: its questions, answers, documents of functions and classes of tools."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from tl_jax.errors import UserError
from tl_jax.tooluse.bfcl.categories import BfclCategory

INSTALL = "pip install --no-deps bfcl-eval mpmath"
"""With its dependencies it would bring the libraries of every vendor, and an old NumPy."""

CLASSES: Mapping[str, str] = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "TwitterAPI": "posting_api",
    "VehicleControlAPI": "vehicle_control",
}
"""Class of tools -> its module in `SOURCE`, which is also the name of the file with the documents of its functions."""
SOURCE = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
DOCUMENTS = "multi_turn_func_doc"


def data_folder() -> Path:
    """The folder with the package's questions.

    Raises:
        UserError: the package is not installed.
    """
    folder = _data_folder()
    if folder is None:
        raise UserError(f"BFCL's data is not installed: {INSTALL}")
    return folder


def question_files(
    categories: Iterable[BfclCategory], folder: Path | None = None, required: Collection[str] | None = None
) -> list[Path]:
    """The files of some categories.

    Args:
        folder: where they lie; None = in the package.
        required: names of those that have to be there; None = all of them. One at least is.

    Raises:
        UserError: the package is not installed, or a file is not there.
    """
    wanted = {category.name: (folder or data_folder()) / category.file for category in categories}
    there = [file for file in wanted.values() if file.is_file()]
    for name, file in wanted.items():
        if not file.is_file() and (not there or required is None or name in required):
            raise UserError(f"{file}: no such file")
    return there


def documents(name: str, beside: Path) -> Path | None:
    """The file with the documents of a class's functions, beside a file of questions or in the package."""
    folders = [beside.parent, beside.parent.parent]
    if installed := _data_folder():
        folders.append(installed)
    files = (folder / DOCUMENTS / f"{CLASSES.get(name, name)}.json" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _data_folder() -> Path | None:
    found = find_spec("bfcl_eval")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations))) / "data"
    return folder if folder.is_dir() else None
