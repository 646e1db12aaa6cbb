"""What commands and trainings read from a bucket and write to one, besides runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click
import pytest
from click.testing import CliRunner, Result

from tests.remote import contents
from tests.report.test_report import write_evaluation, write_run
from tests.tiny import write_trajectories
from tl_jax.addresses import place_of, with_addresses
from tl_jax.bucket import BucketError, Folder, Stored
from tl_jax.bucket_files import Output, bring_inputs, brought
from tl_jax.cli import main
from tl_jax.cli.paths import OUT, ExistingPath, ModelDirectory, NewPath
from tl_jax.config import SftConfig, load_config, to_yaml
from tl_jax.errors import DataError, UserError
from tl_jax.tooluse.readers.registry import read_trajectories
from tl_jax.tooluse.readers.toolbox import beside


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def put(folder: Folder, home: Path) -> None:
    for file in home.rglob("*"):
        if file.is_file():
            folder.upload(file, file.relative_to(home).as_posix())


def names(home: Path) -> list[str]:
    return [file.relative_to(home).as_posix() for file in home.rglob("*") if file.is_file()]


def copies(home: Path) -> list[str]:
    """What lies here of what was written."""
    return [file.name for file in (home / "here/tl_jax/gs/out").rglob("*")]


def paths_of(command: click.Command, name: str) -> Iterator[tuple[str, click.Parameter]]:
    """The options and arguments of a command and of those below it that name files or directories."""
    yield from ((name, option) for option in command.params if isinstance(option.type, click.Path | click.File))
    for below, other in command.commands.items() if isinstance(command, click.Group) else ():
        yield from paths_of(other, f"{name} {below}")


class TestBrought:
    def test_a_file_or_a_folder_as_it_is_now(self, folder: Folder) -> None:
        file, whole = (place_of(address, "files") for address in (f"{folder.address}/a/x.jsonl", folder.address))
        for content in (b"one", b"two", b"not two"):
            folder.write("a/x.jsonl", content)
            assert brought(file).read_bytes() == content
            assert (brought(whole) / "a/x.jsonl").read_bytes() == content
        folder.delete("a/x.jsonl")
        folder.write("a/x.jsonl/inner", b"")  # a folder where a file was
        assert (brought(file) / "inner").is_file()
        folder.write("a/x.jsonl", b"three")
        assert brought(file).read_bytes() == b"three"
        assert brought(Path("runs/x")) == Path("runs/x")

    def test_what_tools_are_beside_a_file(self, folder: Folder) -> None:
        file = place_of(f"{folder.address}/data.jsonl", "files")
        folder.write("data.jsonl", b"")
        assert beside(brought(file)) is None
        for name in ("tools.json", "data.tools.json"):
            folder.write(name, json.dumps([{"name": name.replace(".", "_")}]).encode())
            tools = beside(brought(file))
            assert tools
            assert tools[0].name == name.replace(".", "_")
        for name in ("tools.json", "data.tools.json"):
            folder.delete(name)
        assert beside(brought(file)) is None

    def test_a_file_is_read_as_it_would_be_here(self, folder: Folder, tmp_path: Path) -> None:
        """Names of files and folders tell readers what ids are, and, of a folder called five, something else."""
        data = write_trajectories(tmp_path / "train.jsonl")
        ids = [one.id for one in read_trajectories(data)]
        for name in ("five/train.jsonl", "other/train.jsonl"):
            folder.upload(data, name)
        folder.write("five/tools.json", b'[{"name": "go"}]')
        one, other = (brought(place_of(f"{folder.address}/{name}/train.jsonl", "files")) for name in ("five", "other"))
        assert [one.id for one in read_trajectories(one)] == ids
        assert (one != other, beside(other)) == (True, None)
        (one.parent / "tools.json").write_text("{broken")
        with pytest.raises(DataError) as refused:
            beside(one)
        assert with_addresses(str(refused.value)).startswith(f"{folder.address}/five/tools.json:")

    def test_what_is_not_there_is_one_line(self, folder: Folder) -> None:
        with pytest.raises(BucketError, match=f"^{folder.address}/x: neither a file nor a folder is there$"):
            brought(place_of(f"{folder.address}/x", "files"))

    def test_what_goes_meanwhile_is_not_there(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        file, real = place_of(f"{folder.address}/x.jsonl", "files"), Folder.stored
        for name in ("x.jsonl", "x.tools.json", "tools.json"):
            folder.write(name, b"[]")

        def then_it_goes(folder: Folder, name: str) -> Stored | None:
            stored = real(folder, name)
            if name == gone:
                folder.delete(name)
            return stored

        monkeypatch.setattr(Folder, "stored", then_it_goes)
        gone = "x.tools.json"
        assert beside(brought(file)) == ()  # of tools.json
        gone = "x.jsonl"
        file.unlink()
        with pytest.raises(BucketError, match=f"^{folder.address}/x.jsonl: neither a file nor a folder is there$"):
            brought(file)

    def test_a_cache_that_cannot_be_written_is_one_line(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        folder.write("x.jsonl", b"")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        (tmp_path / "file").write_text("")
        for address in (folder.address, f"{folder.address}/x.jsonl"):
            with pytest.raises(UserError, match=f"^{tmp_path}/file.*: cannot be written: "):
                brought(place_of(address, "files"))

    def test_checkpoints_of_runs_stay_there_and_all_else_comes(self, folder: Folder) -> None:
        wanted = {"checkpoints/x", "engine/x", "one/config.yaml", "one/log.txt", "config.yml"}
        for name in (*wanted, "one/checkpoints/1/state/d/x", "one/damaged/1/x", "x.partial"):
            folder.write(name, b"")
        home = brought(place_of(folder.address, "files"))
        assert set(names(home)) == wanted
        folder.delete("engine/x")
        assert set(names(brought(home))) == wanted - {"engine/x"}

    def test_data_that_settings_name(self, folder: Folder) -> None:
        for name in ("train.jsonl", "held_out.jsonl", "cases.jsonl"):
            folder.write(name, name.encode())
        settings = [f"data.path={folder.address}/train.jsonl", f"data.eval_path={folder.address}/held_out.jsonl"]
        settings += [f"eval_cases.path={folder.address}/cases.jsonl", "run_dir=r", "model.path=m"]
        config = load_config(SftConfig, [], settings)
        assert f"path: {folder.address}/train.jsonl\n" in to_yaml(config)
        bring_inputs(config)
        for path in (config.data.path, config.data.eval_path, config.eval_cases.path):
            assert path
            assert path.read_text() == path.name


class TestOutput:
    def test_is_there_at_the_end_and_no_longer_here(self, folder: Folder, tmp_path: Path) -> None:
        folder.write("kept", b"1")
        folder.write("gone", b"2")
        place = place_of(folder.address, "out")
        output = Output(place)
        (place / "gone").unlink()
        (place / "in").mkdir()
        (place / "in/new").write_text("3")
        (place / "half.partial").write_text("half")
        before = folder.generation("kept")
        folder.write("another's", b"4")  # meanwhile
        output.publish()
        assert contents(folder.address) == {"kept": b"1", "in/new": b"3", "another's": b"4"}
        assert folder.generation("kept") == before
        assert copies(tmp_path) == []

    def test_one_that_was_killed_is_gone_on_with(self, folder: Folder, tmp_path: Path) -> None:
        folder.write("answers", b"1")
        place = place_of(folder.address, "out")
        Output(place)
        (place / "answers").write_text("1\n2")  # and then it is killed
        Output(place).publish()
        assert contents(folder.address) == {"answers": b"1\n2"}

    @pytest.mark.parametrize("change", ["written", "new", "deleted"])
    def test_one_that_was_killed_does_not_write_over_what_another_machine_wrote_since(
        self, folder: Folder, tmp_path: Path, change: str
    ) -> None:
        folder.write("answers", b"1")
        place = place_of(folder.address, "out")
        Output(place)
        (place / "answers").write_text("1\n2")  # and then it is killed
        if change == "deleted":
            folder.delete("answers")
        folder.write("answers" if change == "written" else "more", b"1\n3")
        there = contents(folder.address)
        with pytest.raises(BucketError, match=f"^{folder.address}: .* here was cut off") as refused:
            Output(place)
        (aside,) = place.parent.glob(".*.old")
        assert str(aside) in with_addresses(str(refused.value))
        assert (aside / "answers").read_text() == "1\n2"
        assert contents(folder.address) == there
        output = Output(place)  # and so it is with what is there
        assert {name: (place / name).read_bytes() for name in names(place)} == there
        output.publish()
        assert contents(folder.address) == there
        assert copies(tmp_path) == [place.parent.name, aside.name, "answers"]

    def test_one_that_copied_a_part_is_gone_on_with(
        self, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a", "b", "gone"):
            folder.write(name, b"1")
        place, real = place_of(folder.address, "out"), Folder.upload
        output, sent = Output(place), list[str]()
        for name in ("a", "b"):
            (place / name).write_text("2")
        (place / "gone").unlink()

        def lost(folder: Folder, file: Path, name: str, known: Stored | None = None) -> None:
            if sent:
                raise BucketError("the network is gone")
            sent.append(name)
            real(folder, file, name, known)

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "upload", lost)
            with pytest.raises(BucketError, match="gone; what was written is still in ") as refused:
                output.publish()
        assert (Path(with_addresses(str(refused.value)).rpartition(" ")[2]) / place.name / "b").read_text() == "2"
        Output(place)
        (place / sent[0]).write_text("3")  # and then it is killed once more
        Output(place).publish()
        assert contents(folder.address) == {"a": b"2", "b": b"2", sent[0]: b"3"}
        assert copies(tmp_path) == []

    def test_one_that_was_killed_while_it_cleared_up_deletes_nothing_there(
        self, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All has been copied by then: what is gone here was not taken away by the command."""
        for name in ("answers", "settings"):
            folder.write(name, b"1")
        place = place_of(folder.address, "out")
        output = Output(place)
        (place / "answers").write_text("1\n2")

        def killed(directory: Path) -> None:
            (directory / "settings").unlink()
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", killed)
            with pytest.raises(KeyboardInterrupt):
                output.publish()
        Output(place).publish()
        assert contents(folder.address) == {"answers": b"1\n2", "settings": b"1"}
        Output(place).publish()
        assert copies(tmp_path) == []

    def test_half_of_what_is_there_is_not_gone_on_with(
        self, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a", "b"):
            folder.write(name, b"1")
        place, real = place_of(folder.address, "out"), Folder._read_into

        def lost(folder: Folder, target: BinaryIO, name: str, *more: int | None) -> bool:
            if name == "b":
                assert not place.exists()  # nor would it be there if the command was killed now
                raise BucketError("the network is gone")
            return real(folder, target, name, *more)

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "_read_into", lost)
            with pytest.raises(BucketError, match="gone"):
                Output(place)
        assert copies(tmp_path) == []
        Output(place)
        assert set(names(place)) == {"a", "b"}

    def test_nothing_is_nothing(self, folder: Folder, tmp_path: Path) -> None:
        place = place_of(folder.address, "out")
        for empty_folder in (False, True):
            output = Output(place)
            if empty_folder:
                place.mkdir()
            output.publish()
            assert contents(folder.address) == {}
            assert copies(tmp_path) == []


class TestCommands:
    def test_data(self, folder: Folder, tmp_path: Path) -> None:
        data = write_trajectories(tmp_path / "train.jsonl")
        folder.upload(data, "train.jsonl")
        here = run("mae", "--in", data, "--out", tmp_path / "mae.jsonl", "--audit", tmp_path / "audit.jsonl")
        address = folder.address
        there = run(
            "mae", "--in", f"{address}/train.jsonl", "--out", f"{address}/m/mae.jsonl", "--audit", f"{address}/a"
        )
        audit = (tmp_path / "audit.jsonl").read_text().replace(str(data), f"{address}/train.jsonl")
        assert contents(address) == {
            "train.jsonl": data.read_bytes(),
            "m/mae.jsonl": (tmp_path / "mae.jsonl").read_bytes(),
            "a": audit.encode(),
        }
        assert there.output == here.output.replace(str(tmp_path / "mae.jsonl"), f"{address}/m/mae.jsonl")

    def test_errors_name_the_address(self, folder: Folder) -> None:
        folder.write("x.jsonl", b"{broken\n")
        shown = run("mae", "--in", f"{folder.address}/x.jsonl", "--out", f"{folder.address}/out", code=2)
        assert f"{folder.address}/x.jsonl:1: " in shown.stderr
        assert "tl_jax/gs" not in shown.stderr
        assert set(folder.objects()) == {"x.jsonl"}

    def test_a_line_with_a_mistake_leaves_nothing_here(self, folder: Folder, tmp_path: Path) -> None:
        """A later command would go on with it, whatever another machine has written meanwhile."""
        folder.write("x", b"1")
        run("mae", "--out", f"{folder.address}/x", "--in", tmp_path / "none", code=2)
        assert copies(tmp_path) == []
        assert contents(folder.address) == {"x": b"1"}
        twice = run("mae", "--in", f"{folder.address}/x", "--out", f"{folder.address}/x", code=2)
        assert f"'{folder.address}/x' is what --in names, too" in twice.stderr
        assert contents(folder.address) == {"x": b"1"}

    def test_what_a_command_wrote_before_it_failed_is_there(self, folder: Folder) -> None:
        @click.command()
        @click.option("--out", type=OUT)
        def fails(out: Path) -> None:
            out.write_text("half")
            raise UserError("no more")

        result = CliRunner().invoke(fails, ["--out", f"{folder.address}/x"])
        assert isinstance(result.exception, UserError)
        assert contents(folder.address) == {"x": b"half"}

    def test_scores(self, folder: Folder, tmp_path: Path) -> None:
        case = {"id": "a", "tools": [{"name": "go"}], "messages": [{"role": "user", "content": "?"}]}
        folder.write("cases.jsonl", json.dumps(case | {"gold": [[{"name": "go", "arguments": {}}]]}).encode())
        for side, said in (("a", "go()"), ("b", "stop()")):
            folder.write(f"{side}/predictions.jsonl", json.dumps({"id": "a", "prediction": said}).encode())
            folder.write(f"{side}/settings.json", json.dumps({"cases": f"{folder.address}/cases.jsonl"}).encode())
        cases, a, b = (f"{folder.address}/{name}" for name in ("cases.jsonl", "a", "b"))
        scored = run("score", "--cases", cases, "--predictions", f"{a}/predictions.jsonl", "--json")
        assert json.loads(scored.stdout)["TS"] == 100
        compared = run("compare", a, b, "--json")
        assert json.loads(compared.stdout)["cases"] == 1
        assert "tl_jax/gs" not in compared.output

    def test_a_table_of_rewards(self, folder: Folder) -> None:
        case = {"id": "a", "tools": [{"name": "go"}], "messages": [{"role": "user", "content": "?"}]}
        folder.write("cases.jsonl", json.dumps(case | {"gold": [[{"name": "go", "arguments": {}}]]}).encode())
        folder.write("said.jsonl", json.dumps({"id": "a", "prediction": "("}).encode())
        folder.write("mine.yaml", b"parse_failure: -7\n")
        files = ("--cases", f"{folder.address}/cases.jsonl", "--predictions", f"{folder.address}/said.jsonl")
        assert "-7" in run("reward", *files, "--profile", f"{folder.address}/mine.yaml").stdout
        shown = run("reward", *files, "--profile", f"{folder.address}/none.yaml", code=2)
        assert f"{folder.address}/none.yaml: neither a file nor a folder is there" in shown.stderr

    def test_every_path_of_every_command_may_be_at_an_address(self, folder: Folder, tmp_path: Path) -> None:
        """What is read is here, then; what is written is there once the command ends."""
        for name in ("file", "folder/config.json"):
            folder.write(name, b"{}")
        tried = 0
        for command, option in paths_of(main, "tl-jax"):
            kind = option.type
            assert isinstance(kind, ExistingPath | NewPath), (command, option.name)
            with click.Context(click.Command(command)) as context:
                if isinstance(kind, NewPath):
                    name = f"{command}/{option.name}"
                    kind.convert(f"{folder.address}/{name}", option, context).write_text(name)
                else:
                    is_file = kind.file_okay and not isinstance(kind, ModelDirectory)
                    name = "file" if is_file else "folder"
                    place = kind.convert(f"{folder.address}/{name}", option, context)
                    assert (place if is_file else place / "config.json").read_text() == "{}"
            assert not isinstance(kind, NewPath) or folder.read(name).decode() == name
            tried += 1
        assert tried > 40
        assert copies(tmp_path) == []

    def test_report(self, folder: Folder, tmp_path: Path) -> None:
        put(folder, write_run(tmp_path / "run"))
        put(Folder(f"{folder.address}/eval"), write_evaluation(tmp_path / "eval"))
        shown = run("report", folder.address, "--out", f"{folder.address}/page.html")
        assert shown.output == f"{folder.address}/page.html: open it in a browser\n"
        page = folder.read("page.html").decode()
        assert ">test_report<" in page
        assert "%2F" not in page
        assert "say with --out which file" in run("report", folder.address, code=2).stderr

    @pytest.mark.parametrize("address", ["s3://b/x", "gs://b", "gs://B/x"])
    def test_another_address_is_refused(self, address: str, tmp_path: Path) -> None:
        for option in ("--in", "--out"):
            given = {"--in": __file__, "--out": tmp_path / "x"} | {option: address}
            shown = run("mae", *(part for pair in given.items() for part in pair), code=2)
            assert repr(address) in shown.stderr
            assert "gs://BUCKET/" in shown.stderr


@pytest.mark.slow
def test_a_model_goes_from_bucket_to_bucket(folder: Folder, tmp_path: Path) -> None:
    from tests.tiny import write_model

    hf = write_model(tmp_path / "model", ["a few words"])
    put(Folder(f"{folder.address}/hf"), hf)
    run("convert", "--from", f"{folder.address}/hf", "--to", f"{folder.address}/orbax")
    run("export", "--from", f"{folder.address}/orbax", "--to", f"{folder.address}/back")
    assert folder.read("back/model.safetensors") == (hf / "model.safetensors").read_bytes()
    assert copies(tmp_path) == []
    shown = run("convert", "--from", f"{folder.address}/hf", "--to", f"{folder.address}/back", code=2)
    assert f"{folder.address}/back: not overwritten" in shown.stderr
    assert "no such" not in run("export", "--from", f"{folder.address}/x", "--to", tmp_path / "x", code=2).stderr
