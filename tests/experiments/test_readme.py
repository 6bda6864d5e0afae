"""Every command and every line of Python in the README does what it says there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from callbacks.quantities import QUANTITIES, quantity_of
from datamodules.grammar import ReviewGrammar
from lightning_modules.metrics.perplexity import CONVENTIONS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE_RUN = "runs/daae_reviews/2026-11-21_12-00-00"
Command = Callable[..., Any]


def lines_of(language: str) -> list[str]:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


TEXTAE = [line.partition("textae ")[2] for line in lines_of("bash") if line.startswith(".venv/bin/textae ")]
MAKE = [line for line in lines_of("bash") if line.startswith("make ")]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a user has just typed `make train`, on a few sentences."""
    from experiments.cli import main

    folder = tmp_path_factory.mktemp("readme")
    options = [
        "--data.init_args.subset.train=64",
        "--data.init_args.subset.valid=16",
        "--data.init_args.subset.test=24",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TEXTAE_VERSION", "2026-11-21_12-00-00")
        main(["fit", "--config=daae_reviews", *options, "--trainer.max_epochs=1", "--trainer.logger=false"])
    (folder / "experiments").symlink_to(ROOT / "experiments")
    drawn = ReviewGrammar().sample(100, seed=5)
    _train_on_questions(folder, [f"{question} ? {answer}" for question, answer in pairwise(drawn)])
    for name, verbs in (("singular", {"is", "was"}), ("plural", {"are", "were"})):
        sentences = [sentence for sentence in drawn if verbs & set(sentence.split())]
        (folder / f"{name}.txt").write_text("\n".join(sentences) + "\n")
    labels = ["past" if {"was", "were"} & set(sentence.split()) else "other" for sentence in drawn]
    (folder / "sentences.txt").write_text("\n".join(drawn) + "\n")
    (folder / "labels.txt").write_text("\n".join(labels) + "\n")
    pairs = [f"{row % 2}\t{sentence}\t{drawn[row % 7]}" for row, sentence in enumerate(drawn)]
    (folder / "pairs.tsv").write_text("\n".join(pairs) + "\n")
    answers = [f"{int(row % 4 == 0)}\tquestion {row // 4} ?\t{sentence}" for row, sentence in enumerate(drawn)]
    (folder / "answers.tsv").write_text("\n".join(answers) + "\n")
    return folder


def _train_on_questions(folder: Path, sentences: list[str]) -> None:
    """A small model of questions and answers, for the example that asks."""
    from experiments.cli import main

    for split in ("train", "valid", "test"):
        (folder / "questions").mkdir(exist_ok=True)
        (folder / "questions" / f"{split}.txt").write_text("\n".join(sentences) + "\n")
    sizes = ["encoder.hidden_size=8", "decoder.hidden_size=8", "posterior.latent_size=4", "embedding.size=8"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = [*(f"--model.init_args.{size}" for size in sizes), "--data.init_args.data_dir=questions"]
        main(["fit", "--config=smim_qa_yahoo", *options, "--trainer.max_epochs=1", "--trainer.logger=false"])


@pytest.mark.parametrize("line", TEXTAE)
def test_textae_commands_run(line: str, textae: Command, small_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_run)
    words = shlex.split(line, comments=True)
    if words[0] == "fit" and "--model.help" not in words:
        words.append("--print_config")
    assert textae(*words).out


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("line", MAKE)
def test_make_commands_expand_to_known_commands(line: str) -> None:
    shown = subprocess.run(
        ["make", "--dry-run", *shlex.split(line, comments=True)[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"\.venv/bin/(textae|python|ruff|mypy)|experiments/slurm/train\.sbatch", shown.stdout)


def test_make_train_options_are_accepted(textae: Command) -> None:
    for line in MAKE:
        given = dict(word.split("=", 1) for word in shlex.split(line, comments=True) if "=" in word)
        if " train" in line:
            options = shlex.split(given.get("ARGS", ""))
            assert textae("fit", "--config", given.get("EXP", "daae_reviews"), *options, "--print_config").out


def test_the_python_example_runs(
    small_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small_run)
    [example] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert EXAMPLE_RUN in example
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_yaml_examples_are_accepted(textae: Command, tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert examples
    for example in examples:
        file = tmp_path / "example.yaml"
        file.write_text(example)
        printed = textae("fit", "--config", "svae_reviews", "--config", file, "--print_config").out
        for name in re.findall(r"class_path: (\S+)", example):
            assert name in printed


def test_every_experiment_and_corpus_is_in_the_readme() -> None:
    import callbacks
    import datamodules
    from experiments.runs import experiment_names

    for name in (*experiment_names(), *datamodules.__all__, *callbacks.__all__):
        assert f"`{name}`" in README or name == "TextDataModule", name


def test_every_figure_that_can_be_cited_is_one() -> None:
    section = README.partition("## Which number can I cite?")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.replace("\\|", "").splitlines() if line.startswith("| ")][1:]
    names = [name for row in rows for name in re.findall(r"`([a-z_0-9]+)`", row[2])]
    assert len(rows) > 10 and len(names) > 25
    for row in rows:
        for name in re.findall(r"`([a-z_0-9]+)`", row[2]):
            known = quantity_of(name, {"perplexity": "negative_elbo"})
            assert known.meaning, name
            said = row[4].strip()
            assert known.convention == said.strip("`") or said.startswith(("none", "in its name", "`eos_in_both`;")), (
                name
            )
            if said == "none":
                assert known.convention is None, name
    for name in CONVENTIONS:
        assert f"`{name}`" in section
    ranges = re.compile(r"bleu_[1-4]_.*|exact_.*|neighborhood_recall_\d+")
    said = set(re.findall(r"`([a-z_0-9]+)`", section))
    assert {name for name in set(QUANTITIES) - said if not ranges.fullmatch(name)} == set()


# The rows of the README's table, and how what is measured begins in a file.
SPEED = {
    "DAAE at the paper's size, fp32": "DAAE training step, paper size, in fp32; the published loop",
    "DAAE, bf16-mixed": "DAAE training step, paper size, in bf16-mixed;",
    "DAAE, fp32: share": "DAAE training step, paper size, in fp32; its matrix products",
    "sentenceMIM-512, batches of 20, fp32": "sentenceMIM-512 training, batch 20, PTB's lengths, in fp32",
    "sentenceMIM-512, bf16-mixed": "sentenceMIM-512 training, batch 20, PTB's lengths, in bf16-mixed",
    "VAE-AVG, L = 10, fp32": "VAE-AVG training, L = 10, PTB's lengths, in fp32; 10 decoder passes",
    "importance-weighted NLL, K = 500, fp32": "IW-NLL, K = 500, in fp32; a loop of 500",
    "importance-weighted NLL, bf16 products": "IW-NLL, K = 500, in bf16; a loop of 500",
    "importance-weighted NLL beside one": "IW-NLL, K = 500, in fp32, 565 words",
    "the same, 10,000 words, fp32": "IW-NLL, K = 500, in fp32, 10,000 words",
    "word drop of a batch": "word drop",
    "greedy decodes of 1,000 sentences": "greedy decoding of 1,000 sentences",
    "`textae fit` beside its bare": "`textae fit` of daae_reviews",
}


@pytest.mark.parametrize(("column", "file"), [(2, "bench.json"), (3, "bench_avx2.json"), (4, "bench_intel.json")])
def test_the_figures_of_speed_are_those_of_the_files(column: int, file: str) -> None:
    section = README.partition("## Speed")[2].partition("\n## ")[0]
    table = [[cell.strip() for cell in line.split("|")] for line in section.splitlines() if line.startswith("| ")][1:]
    rows = json.loads((ROOT / "experiments" / "results" / file).read_text(encoding="utf-8"))["rows"]
    assert len(table) == len(SPEED)
    for (label, begins), cells in zip(SPEED.items(), table, strict=True):
        assert cells[1].startswith(label)
        ratios = [f"{row['ratio']:.2f}" for row in rows if row["what"].startswith(begins)]
        assert ratios == ([] if cells[column] == "-" else [cells[column]]), label
