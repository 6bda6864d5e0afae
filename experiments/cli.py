"""The console command `textae`."""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import sys
import warnings
from collections.abc import Sequence

# What libraries say of each other, or of what is so on purpose.
UNHELPFUL_WARNINGS = (
    r".*isinstance\(treespec, LeafSpec\).*",  # torch, of Lightning 2.6
    r".*Experiment logs directory .* exists and is not empty.*",  # our run folder, which has its config.yaml
    r".*Checkpoint directory .* exists and is not empty.*",  # of a run that goes on
    r".*The `srun` command is available.*",  # on a login node, where one tries a training before one submits it
    r".*does not have many workers.*",  # batches are read from memory-mapped files, see TextDataModule.num_workers
    r".*sync_dist=True.*",  # figures of studies that the first rank does alone
)
# What a folder that cannot be made or written to says of itself.
UNUSABLE = (errno.ENAMETOOLONG, errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ENOENT, errno.ENOTDIR, errno.EDQUOT)
# The modules of the commands that are not Lightning's.
COMMANDS = {
    "grid": "grid_command",
    "sweep": "sweep_command",
    "results": "results_command",
    "compare": "compare_command",
    "tradeoff": "tradeoff_command",
    "word-dropout": "word_dropout_command",
    "encode": "encode_command",
    "explore": "explore_command",
    "report": "report_command",
    "probe": "probe_command",
    "answer": "answer_command",
    "sample": "sample_command",
    "reconstruct": "reconstruct_command",
    "interpolate": "interpolate_command",
    "traverse": "traverse_command",
    "impute": "impute_command",
    "transfer": "transfer_command",
}
HELP = """usage: textae COMMAND [options]      textae COMMAND --help for the options

train and measure (a configuration is a YAML file or the name of an experiment)
  fit          train:                textae fit --config daae_reviews --trainer.max_epochs 3
  validate     validation metrics:   textae validate --run runs/daae_reviews
  test         test metrics:         textae test --run runs/daae_reviews
  predict      reconstructions:      textae predict --run runs/daae_reviews
  data         fetch and prepare:    textae data --config daae_yelp
  grid         a list of values:     textae grid --config smim_ptb
  sweep        search for settings:  textae sweep --config svae_reviews --trials 12 --workers 2
  results      figures of runs:      textae results runs/daae_binary_clusters runs/aae_binary_clusters
  compare      with the papers':     textae compare runs/lm_ptb runs/svae_ptb
  tradeoff     perplexity and BLEU:  textae tradeoff runs/daae_yelp runs/aae_yelp --output tradeoff.png
  word-dropout KL by keep rate:      textae word-dropout runs/svae_reviews --output word_dropout.png
  report       layout in W&B, online:  textae report --project textae

use a trained model (needs neither data nor configuration)
  explore      a page in the browser:          textae explore --run runs/daae_reviews
  encode       latents of sentences:           textae encode --run runs/daae_reviews FILE --output latents.npy
  probe        classes in the latents:         textae probe --run runs/daae_reviews --train SENTENCES LABELS
  answer       questions:                      textae answer --run runs/smim_qa_yahoo "how do you start a car ?"
  sample       sentences from the prior:       textae sample --run runs/daae_reviews
  reconstruct  sentences through the latent:   textae reconstruct --run runs/daae_reviews "the soup was cold ."
  interpolate  between two sentences:          textae interpolate --run runs/daae_reviews "SENTENCE" "SENTENCE"
  traverse     one latent dimension at a time: textae traverse --run runs/svae_reviews "the soup was cold ."
  impute       missing words:                  textae impute --run runs/daae_reviews "the soup was _ and _ ."
  transfer     change an attribute:            textae transfer --run runs/daae_reviews --from FILE --to FILE "SENTENCE"
"""


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command.

    Args:
        args: The command's name and its arguments; those of the process where they are null.

    Raises:
        SystemExit: With one clear message where the user can mend what is wrong.
    """
    command, *rest = (sys.argv[1:] if args is None else list(args)) or ["--help"]
    if command in ("-h", "--help"):
        print(HELP)
        return
    try:
        _run(command, rest)
    except SystemExit as end:
        # Lightning's, when SIGTERM came: it would look like success.
        raise SystemExit(143) if type(end).__name__ == "SIGTERMException" else end from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        message = _mendable(error, command)
        if message is None:
            raise
        sys.exit(f"textae {command}: {message}")


def _run(command: str, rest: list[str]) -> None:
    # The libraries take seconds to import, so help and a misspelled command do not wait for them.
    for message in UNHELPFUL_WARNINGS:
        warnings.filterwarnings("ignore", message)
    logging.raiseExceptions = False  # a log that cannot be written to is no reason for a traceback
    if command in ("fit", "validate", "test", "predict", "data"):
        # Lightning before `datasets`: of the equal Optional[Union[int, float]] and Optional[Union[float, int]] Python
        # keeps the one it saw first, and with the second one the command line takes 1 for 1.0, all batches for one.
        from experiments.lightning_cli import TextCLI
        from experiments.runs import find_configs, find_run

        arguments = find_configs(rest if command in ("fit", "data") else find_run(rest))
        if command == "data":
            from experiments.data_command import describe

            describe(TextCLI(arguments, run=False).datamodule)
        else:
            TextCLI([command, *arguments])
    elif command in COMMANDS:
        importlib.import_module(f"experiments.{COMMANDS[command]}").run(rest)
    else:
        sys.exit(f"textae {command}: there is no such command\n{HELP}")


def _mendable(error: BaseException | None, command: str) -> str | None:
    """What the user can mend, if it is that; the libraries wrap it in errors of their own, often several times."""
    from datamodules.errors import UsageError

    message = None
    while error is not None:
        if isinstance(error, UsageError):
            return str(error)
        if isinstance(error, argparse.ArgumentError):
            classes = "" if command in COMMANDS else ", --model.help CLASS or --data.help CLASS"
            message = f"{error}\nsee: textae {command} --help{classes}"
        elif type(error).__name__ == "MisconfigurationException":  # Lightning's, which may not be imported
            message = str(error)
        elif isinstance(error, OSError) and error.errno in UNUSABLE:
            file = error.filename or "a file"
            message = f"{file}: {error.strerror} (corpora are cached under HF_HOME, runs lie under --runs)"
        error = error.__cause__
    return message


if __name__ == "__main__":
    main()
