"""What `results.sh` and `ablation.sh` train on and ask: trajectories and cases of stated lengths, and a sample of BFCL.

    python examples/smollm2/prepare.py --model models/smollm2 --train TRAIN.jsonl --out runs/real/data \\
        --cases toolalpaca.jsonl 1024 --cases rotbench_clean.jsonl 768
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

from tl_jax.data.codec import Codec
from tl_jax.demo.fitting import fitting_cases, fitting_trajectories
from tl_jax.demo.world_files import write_jsonl
from tl_jax.files import write_lines
from tl_jax.tooluse.bfcl.categories import chosen
from tl_jax.tooluse.bfcl.package import data_folder
from tl_jax.tooluse.schema import Case

TOGETHER = "cases.jsonl"
"""All cases in one file, each set a suite of its own."""
BFCL = ("simple_python", "multiple", "irrelevance")


def sample_bfcl(out: Path, count: int, seed: int) -> None:
    """The same questions of each category whenever it runs, as BFCL has them, with their answers."""
    for category in chosen(BFCL):
        source = data_folder() / category.file
        lines = source.read_text(encoding="utf-8").splitlines()
        places = random.Random(seed).sample(range(len(lines)), min(count, len(lines)))
        kept = [lines[index] for index in sorted(places)]
        write_lines(out / category.file, kept)
        answers = source.parent / "possible_answer" / category.file
        if answers.is_file():
            ids = {json.loads(line)["id"] for line in kept}
            rows = answers.read_text(encoding="utf-8").splitlines()
            write_lines(out / "possible_answer" / category.file, [row for row in rows if json.loads(row)["id"] in ids])
        print(f"{out / category.file}: {len(kept)} of {len(lines)} questions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="its tokenizer counts")
    parser.add_argument("--train", type=Path, required=True, help="trajectories")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-length", type=int, default=640, help="tokens of a trajectory")
    parser.add_argument(
        "--cases", nargs=2, action="append", default=[], metavar=("FILE", "TOKENS"), help="those whose prompt fits"
    )
    parser.add_argument("--bfcl", type=int, default=100, help="questions of each category of BFCL")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = [Path(path).name for path, _ in options.cases]
    if TOGETHER in names or len({*names}) < len(names):
        parser.error(f"--cases: files keep their names in --out, so give each another name, and none {TOGETHER}")
    codec = Codec.open("paper", options.model)
    train, there = fitting_trajectories(options.train, codec, options.max_length)
    write_jsonl(options.out / "train.jsonl", train)
    print(f"{options.out / 'train.jsonl'}: {len(train)} of {there} trajectories")
    together: list[Case] = []
    for path, tokens in options.cases:
        cases, there = fitting_cases(Path(path), codec, int(tokens))
        target = options.out / Path(path).name
        write_jsonl(target, cases)
        together += [replace(case, suite=target.stem) for case in cases]
        print(f"{target}: {len(cases)} of {there} cases")
    write_jsonl(options.out / TOGETHER, together)
    sample_bfcl(options.out / "bfcl", options.bfcl, options.seed)


if __name__ == "__main__":
    main()
