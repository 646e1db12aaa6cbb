"""The table kind -> before -> after over a folder of inputs on which users of such tools lost data.

    python benchmarks/shared_cases.py --cases DIR

Every row of the folder's README.md is done as a user would do it, by the command it names; what the README says of
"right" and "is" (here: before) stands beside what comes out now. A line of Markdown each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import runpy
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from tl_jax.cli.main import main as command

Row = dict[str, Any]


class Cases:
    """Commands over the files of a folder."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder, self.scratch = folder, scratch

    def run(self, *arguments: str | Path) -> tuple[int, list[str]]:
        """A command's exit code and its lines."""
        done = CliRunner().invoke(command, [str(argument) for argument in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return 1, [f"{type(done.exception).__name__}: {done.exception}"]
        text = done.output.replace(str(self.folder) + "/", "").replace(str(self.scratch) + "/", "")
        return done.exit_code, [line for line in text.splitlines() if line.strip()]

    def find(self, name: str) -> Path:
        return next(path for folder in (self.folder, self.scratch) for path in sorted(folder.glob(f"{name}.*")))

    def converted(self, name: str, show: Callable[[Row], Any]) -> str:
        """What ``show`` finds in the first row that `data convert` writes; or the command's complaint."""
        out = self.scratch / "out.jsonl"
        code, lines = self.run("data", "convert", "--in", self.find(name), "--out", out)
        return say(show(json.loads(out.read_text(encoding="utf-8").partition("\n")[0]))) if code == 0 else lines[-1]

    def blocked(self, name: str) -> str:
        """The weight of each turn that calls, after `mae`."""
        out = self.scratch / "mae.jsonl"
        code, lines = self.run("mae", "--in", self.find(name), "--out", out)
        if code:
            return lines[-1]
        row = json.loads(out.read_text(encoding="utf-8").partition("\n")[0])
        turns = [message for message in row["messages"] if message.get("tool_calls")]
        return "; ".join(f"{turn['tool_calls'][0]['name']} {turn.get('weight', 1)}" for turn in turns)

    def scored(self, cases: str, predictions: str) -> str:
        """What `score` and `reward` say of predictions."""
        files = ("--cases", self.find(cases), "--predictions", self.find(predictions), "--json")
        _, lines = self.run("score", *files)
        _, rewards = self.run("reward", *files)
        found = [json.loads(line) for line in (*lines, *rewards) if line.startswith("{")]
        said = dict.fromkeys(line for line in lines if not line.startswith("{"))
        figures = [f"CF {row['CF']} %" if "CF" in row else f"reward {row['reward']:+g}" for row in found]
        return "; ".join([*dict.fromkeys(figures), *said])

    def shown(self, name: str, tokenizer: str, pattern: str, renderer: str = "chat") -> str:
        """What `inspect` prints, as far as it fits a pattern; or its complaint."""
        files = ("--data", self.find(name), "--tokenizer", self.folder / tokenizer)
        code, lines = self.run("inspect", *files, "--renderer", renderer)
        found = re.findall(pattern, " ".join(line.strip() for line in lines))
        return "; ".join(dict.fromkeys(found)) if code == 0 else lines[-1]

    def reread(self, tokenizer: str) -> str:
        """What a chat template writes for a call, and the reward of that answer."""
        answer = self.shown("langchain_args", tokenizer, r"<a>(.*?)</s>").partition("; ")[0]
        row = json.loads(self.find("langchain_args").read_text(encoding="utf-8"))
        asked, turn = row["messages"][:2]
        gold = [[{"name": call["name"], "arguments": call["args"]} for call in turn["tool_calls"]]]
        case = {"id": "x", "tools": row["tools"], "messages": [asked], "gold": gold}
        files = {"reread_cases": case, "reread_predictions": {"id": "x", "prediction": answer}}
        for name, value in files.items():
            (self.scratch / f"{name}.jsonl").write_text(json.dumps(value) + "\n", encoding="utf-8")
        return f"{answer}: {self.scored('reread_cases', 'reread_predictions')}"

    def beside_a_call(self) -> str:
        """What `inspect` says of a text beside a call that the template drops."""
        row = json.loads(self.find("langchain_args").read_text(encoding="utf-8"))
        row["messages"][1]["content"] = "I look A up."
        (self.scratch / "drops_text.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        return self.shown("drops_text", "tok_dropstext", r"The chat template does not write.*?up\.'")

    def answered(self, source: str) -> str:
        """The answer of a random model to the messages in a file."""
        code, lines = self.run(
            "generate", "--model", self.model("tok_needstools"), "--input", self.find(source), "--max-new-tokens", "1"
        )
        return "read: one answer" if code == 0 else lines[-1]

    def model(self, tokenizer: str) -> Path:
        """A small random model with one of the tokenizers."""
        out = self.scratch / f"model_{tokenizer}"
        if not out.exists():
            self.run("init-model", "--preset", "tiny", "--tokenizer", self.folder / tokenizer, "--out", out)
        return out

    def exported(self) -> str:
        """What becomes of a named chat template."""
        source, out = self.model("tok_needstools"), self.scratch / "exported"
        named = source / "additional_chat_templates"
        named.mkdir(exist_ok=True)
        shutil.copy(self.folder / "tok_needstools" / "chat_template.jinja", named / "tool_use.jinja")
        code, lines = self.run("export", "--from", source, "--to", out)
        kept = sorted(path.name for path in out.glob("additional_chat_templates/*"))
        return say(kept) if code == 0 else lines[-1]

    def trl(self) -> str:
        """What the documented reward function for TRL prints."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(self.folder / "trl_tools_reward.py"))
        return ", ".join(printed.getvalue().split())

    def bfcl(self) -> str:
        """The suite's score of its own accepted answers."""
        folder, predictions = self.folder / "bfcl", self.scratch / "bfcl.jsonl"
        with predictions.open("w", encoding="utf-8") as file:
            for path in sorted((folder / "possible_answer").glob("*.json")):
                for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
                    ((name, given),) = row["ground_truth"][0].items()
                    said = ", ".join(f"{key}={values[0]!r}" for key, values in given.items())
                    file.write(json.dumps({"id": row["id"], "prediction": f"{name}({said})"}) + "\n")
        suite = ("--suite", "bfcl_v4", "--category", "simple_python", "--cases", folder, "--predictions", predictions)
        code, lines = self.run("score", *suite, "--json")
        scores = json.loads(next(line for line in lines if line.startswith("{"))) if code == 0 else {}
        return say(scores.get("categories", scores)) if scores else lines[-1]


def say(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def arguments(row: Row) -> Any:
    found = [call["arguments"] for message in row["messages"] for call in message.get("tool_calls", ())]
    return found[0] if len(found) == 1 else found


def results(row: Row) -> Any:
    return [message["content"] for message in row["messages"] if message["role"] == "tool"]


def tools(row: Row) -> Any:
    return {tool["name"]: [*tool["parameters"].get("properties", {})] for tool in row["tools"]}


def weights(row: Row) -> Any:
    return {turn["content"]: turn.get("weight", 1) for turn in row["messages"] if turn["role"] == "assistant"}


def structure(row: Row) -> Any:
    return {"tools": tools(row), "calls": arguments(row), "results": results(row)}


def first(row: Row) -> Any:
    return row["messages"][0]


def read(row: Row) -> Any:
    """Everything in short, of formats that were refused or misread."""
    roles = " ".join(message["role"] for message in row["messages"])
    return f"{roles}; tools {[tool['name'] for tool in row['tools']]}; calls {say(arguments(row))}"


CONVERTED: Sequence[tuple[str, Callable[[Row], Any]]] = (
    ("langchain_args", arguments),
    ("call_parameters_key", arguments),
    ("canonical_unknown_fields", read),
    ("mcp_tools", tools),
    ("swift_loss", weights),
    ("sharegpt_weight", weights),
    ("parallel_order", results),
    ("hermes_in_messages", structure),
    ("toolace", structure),
    ("tools_in_system", tools),
    ("system_key", first),
    ("reasoning_content", lambda row: [m["reasoning"] for m in row["messages"] if "reasoning" in m]),
    ("datasets_nulls", arguments),
    ("dpo_sharegpt", read),
    *((name, read) for name in ("tools_json_text", "tools_text", "swift_tool_call_role", "anthropic", "lf_v1_parts")),
    *((name, read) for name in ("tau2_flat", "gemini", "openai_responses", "conversations_role_content")),
    *((name, read) for name in ("rows", "good", "developer_parts", "standalone_tool", "image_part")),
)


ROWS: Sequence[tuple[str, Callable[[Cases], str]]] = (
    *((name, partial(Cases.converted, name=name, show=show)) for name, show in CONVERTED),
    ("tok_withids", partial(Cases.shown, name="parallel_order", tokenizer="tok_withids", pattern=r"<tool:[^<]*")),
    ("openai_consecutive_calls", partial(Cases.blocked, name="openai_consecutive_calls")),
    ("openai_late_result", partial(Cases.blocked, name="openai_late_result")),
    (
        "empty_assistant",
        partial(
            Cases.shown,
            name="empty_assistant",
            tokenizer="tok_calltag",
            pattern=r"assistant: (?:no )?target: [^,]*",
            renderer="paper",
        ),
    ),
    ("irrelevance_cases", partial(Cases.scored, cases="irrelevance_cases", predictions="irrelevance_predictions")),
    ("unwritable_cases", partial(Cases.scored, cases="unwritable_cases", predictions="unwritable_predictions")),
    ("toolrl_case", partial(Cases.scored, cases="toolrl_case", predictions="toolrl_prediction")),
    *((name, partial(Cases.reread, tokenizer=name)) for name in ("tok_xmlcall", "tok_calltag", "tok_needstools")),
    ("tok_dropstext", Cases.beside_a_call),
    (
        "enum_nested",
        partial(
            Cases.shown,
            name="enum_nested",
            tokenizer="tok_calltag",
            pattern=r"(?:unit|lat|lon) \([^)]*\)",
            renderer="paper_full",
        ),
    ),
    ("export_named_templates", Cases.exported),
    ("trl_tools_reward", Cases.trl),
    ("generate_openai", partial(Cases.answered, source="generate_openai")),
    ("bfcl", Cases.bfcl),
)


def expected(folder: Path) -> dict[str, tuple[str, str]]:
    """The README's "right" and "is" of each name in its table."""
    found: dict[str, tuple[str, str]] = {}
    for line in (folder / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3:
            for name in re.findall(r"\w+", re.sub(r"\([^)]*\)|\.(?:json|sh|py|parquet)\w*", "", cells[0])):
                found.setdefault(name, (cells[1], cells[2]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True)
    options = parser.parse_args()
    told = expected(options.cases)
    print("| kind | right | before | after |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        cases = Cases(options.cases.resolve(), Path(scratch))
        for name, measure in ROWS:
            try:
                after = measure(cases)
            except Exception as error:  # what any row does belongs in the table
                after = f"{type(error).__name__}: {error}"
            cells = (name, *told.get(name, ("", "")), after.replace("|", "\\|"))
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
