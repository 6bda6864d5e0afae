"""What happens around training: measurements, studies and pictures."""

from callbacks.annealing import CyclicalAnnealing, ExponentialDecay, LinearAnnealing, SigmoidAnnealing
from callbacks.atomic_checkpoint_io import AtomicCheckpointIO
from callbacks.attribute_transfer import AttributeTransfer
from callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from callbacks.collapse import CollapseWarning
from callbacks.cross_histograms import CrossHistograms
from callbacks.finite_loss import FiniteLoss
from callbacks.floor import EntropyFloor
from callbacks.importance_weighted_nll import ImportanceWeightedNLL
from callbacks.imputation import Imputation
from callbacks.interpolations import Interpolations
from callbacks.latent_diagnostics import LatentDiagnostics
from callbacks.latent_map import LatentMap
from callbacks.loss_curves import LossCurves
from callbacks.melbo import Melbo
from callbacks.neighbor_purity import NeighborPurity
from callbacks.neighborhood import NeighborhoodRecall
from callbacks.perplexity_conventions import PerplexityConventions
from callbacks.predictions import Predictions
from callbacks.prior_samples import PriorSamples
from callbacks.progress_bar import ProgressBar
from callbacks.reconstructions import Reconstructions
from callbacks.resumable_csv_logger import ResumableCSVLogger
from callbacks.run_folder import RunFolder
from callbacks.sample_perplexity import SamplePerplexity
from callbacks.sentence_histograms import SentenceHistograms
from callbacks.steady_wandb_logger import SteadyWandbLogger
from callbacks.stopping import DecayFromBest, DecayOnPlateau, LateEarlyStopping
from callbacks.summary import Summary
from callbacks.text_quality import TextQuality
from callbacks.throughput import Throughput
from callbacks.traversals import Traversals
from callbacks.unprofiled import Unprofiled

__all__ = [
    "AtomicCheckpointIO",
    "AttributeTransfer",
    "BestCheckpoint",
    "CollapseWarning",
    "CrossHistograms",
    "CyclicalAnnealing",
    "DecayFromBest",
    "DecayOnPlateau",
    "EntropyFloor",
    "ExponentialDecay",
    "FiniteLoss",
    "ImportanceWeightedNLL",
    "Imputation",
    "Interpolations",
    "LastCheckpoint",
    "LateEarlyStopping",
    "LatentDiagnostics",
    "LatentMap",
    "LinearAnnealing",
    "LossCurves",
    "Melbo",
    "NeighborPurity",
    "NeighborhoodRecall",
    "PerplexityConventions",
    "Predictions",
    "PriorSamples",
    "ProgressBar",
    "Reconstructions",
    "ResumableCSVLogger",
    "RunFolder",
    "SamplePerplexity",
    "SentenceHistograms",
    "SigmoidAnnealing",
    "SteadyWandbLogger",
    "Summary",
    "TextQuality",
    "Throughput",
    "Traversals",
    "Unprofiled",
]
