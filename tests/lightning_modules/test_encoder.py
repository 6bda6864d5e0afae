from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from models import enlarge, one_by_one
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from datamodules.batch import TokenBatch
from datamodules.errors import UsageError
from datamodules.vocabulary import BLANK, BOS, EOS, PAD
from lightning_modules.backbone.encoder import Encoder, EncoderConfig
from lightning_modules.backbone.views import encoder_view, right_to_left, sentence_words

SIZE, STATE, VOCABULARY = 5, 4, 20
DIRECTIONS = ("forward", "reversed", "bidirectional")
VIEWS = ("bos", "bos_eos", "words")
SENTENCES = [[7, 8, 9], [], [10, 11, 12, 5, 6, 7, 19], [13]]
LENGTHS = torch.tensor([3, 7, 1, 5])

SUMMARIES: dict[str, dict[str, Any]] = {
    "last": {"summary": "last"},
    "mean": {"summary": "mean"},
    "max": {"summary": "max"},
    "attention": {"summary": "attention"},
    "highway, projection, activation": {
        "summary": "mean",
        "summary_highway": True,
        "summary_size": 3,
        "summary_activation": "elu",
    },
    "projected attention": {"summary": "attention", "summary_size": 3, "summary_highway": True},
    "projected last": {"summary": "last", "summary_size": 3, "summary_highway": True, "summary_activation": "relu"},
}
CASES = [
    EncoderConfig(cell=cell, hidden_size=STATE, layers=layers, direction=direction, **summary)
    for cell, layers, direction, summary in product(("lstm", "gru"), (1, 2), DIRECTIONS, SUMMARIES.values())
] + [
    EncoderConfig(hidden_size=STATE, layers=layers, direction=direction, summary_cell=True)
    for layers, direction in product((1, 2), DIRECTIONS)
]


def name(config: EncoderConfig) -> str:
    changed = [value for value in vars(config).values() if isinstance(value, str)]
    extra = [key for key in ("summary_cell", "summary_highway", "summary_size") if getattr(config, key)]
    return "-".join([*changed, str(config.layers), *extra])


def encoder(config: EncoderConfig) -> Encoder:
    torch.manual_seed(0)
    made = Encoder(config, SIZE)
    enlarge(made, 2.0)
    return made.eval()


def embedded(lengths: Tensor = LENGTHS) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(lengths), int(lengths.max()), SIZE, generator=generator)


def read(network: nn.Module, x_TE: Tensor) -> Tensor:
    return network(x_TE[None])[0][0]


def reference_summary(made: Encoder, x_TE: Tensor) -> Tensor:
    """One sentence without padding, from the definitions."""
    config = made.config
    if config.direction == "reversed":
        x_TE = x_TE.flip(0)
    states, last = x_TE, x_TE[0]
    for layer, forwards in enumerate(made.forwards):
        below, states = states, read(forwards, states)
        last = states[-1]
        if config.direction == "bidirectional":
            back = read(made.backwards[layer], below.flip(0)).flip(0)
            states, last = torch.cat((states, back), dim=1), torch.cat((last, back[0]))

    def value(state: Tensor) -> Tensor:
        if config.summary_highway:
            highway = made.summary.highway
            gate = 1 / (1 + torch.exp(-(highway.gate.weight @ state + highway.gate.bias)))
            changed = torch.tanh(highway.transform.weight @ state + highway.transform.bias)
            state = gate * changed + (1 - gate) * state
        if config.summary_size:
            state = made.summary.projection.weight @ state + made.summary.projection.bias
        return state

    values = [value(state) for state in states]
    if config.summary == "last":
        summary = value(last)
    elif config.summary == "mean":
        summary = sum(values[1:], values[0]) / len(values)
    elif config.summary == "max":
        summary = values[0]
        for other in values[1:]:
            summary = torch.where(other > summary, other, summary)
    else:
        scores = made.summary.scores
        assert scores is not None
        weights = [
            torch.exp(scores.weight @ torch.cat((word, state)) + scores.bias)
            for word, state in zip(x_TE, states, strict=True)
        ]
        summary = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    if config.summary_activation == "elu":
        return torch.where(summary > 0, summary, torch.exp(summary) - 1)
    return summary.clamp(min=0) if config.summary_activation == "relu" else summary


@pytest.mark.parametrize("config", [case for case in CASES if not case.summary_cell], ids=name)
def test_a_summary_is_what_its_definition_says_of_the_sentence_alone(config: EncoderConfig) -> None:
    made, x = encoder(config), embedded()
    summary = made(x, LENGTHS)
    expected = torch.stack([reference_summary(made, row[:length]) for row, length in zip(x, LENGTHS, strict=True)])
    assert summary.shape == (len(LENGTHS), made.summary_size)
    torch.testing.assert_close(summary, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", CASES, ids=name)
def test_a_summary_does_not_change_with_longer_companions_or_what_padding_holds(config: EncoderConfig) -> None:
    made = encoder(config)
    torch.manual_seed(0)
    embedding = nn.Embedding(VOCABULARY, SIZE)
    for view in VIEWS:

        def summary(batch: TokenBatch, view: Any = view) -> Tensor:
            ids, lengths = encoder_view(*sentence_words(batch), view)
            return made(embedding(ids), lengths)

        together = summary(TokenBatch.from_ids(SENTENCES))
        alone = torch.cat([summary(batch) for batch in one_by_one(SENTENCES)])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
        assert torch.pdist(together).min() > 1e-3  # different sentences, different summaries
    x = embedded()
    garbage = x.clone()
    for row, length in enumerate(LENGTHS):
        garbage[row, length:] = 100.0
    torch.testing.assert_close(made(garbage, LENGTHS), made(x, LENGTHS), rtol=0, atol=1e-5)


def packed_network(made: Encoder) -> nn.LSTM | nn.GRU:
    """Torch's own network of several layers and directions with the encoder's weights."""
    config = made.config
    both = config.direction == "bidirectional"
    kind = nn.LSTM if config.cell == "lstm" else nn.GRU
    network = kind(SIZE, STATE, config.layers, batch_first=True, bidirectional=both)
    weights = {}
    for suffix, networks in (("", made.forwards), ("_reverse", made.backwards)):
        for layer, one in enumerate(networks):
            weights |= {key.replace("_l0", f"_l{layer}{suffix}"): value for key, value in one.state_dict().items()}
    network.load_state_dict(weights)
    return network


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_the_states_are_those_of_torch_on_a_packed_sequence(direction: Any, cell: Any, layers: int) -> None:
    config = EncoderConfig(cell=cell, hidden_size=STATE, layers=layers, direction=direction)
    made, x = encoder(config), embedded()
    network = packed_network(made)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    output, state = network(packed)
    hidden = state[0] if cell == "lstm" else state
    directions = 2 if direction == "bidirectional" else 1
    expected = torch.cat(tuple(hidden[-directions:]), dim=1)
    torch.testing.assert_close(made(x, LENGTHS), expected, rtol=0, atol=1e-6)

    states, _ = pad_packed_sequence(output, batch_first=True)
    of_mean = Encoder(replace(config, summary="mean"), SIZE)
    of_mean.load_state_dict(made.state_dict())
    torch.testing.assert_close(of_mean(x, LENGTHS), states.sum(1) / LENGTHS[:, None], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_the_summary_cell_adds_the_cell_state_after_the_last_real_word(direction: Any, layers: int) -> None:
    config = EncoderConfig(hidden_size=STATE, layers=layers, direction=direction, summary_cell=True)
    made, x = encoder(config), embedded()
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    _, (hidden, cell) = packed_network(made)(packed)
    directions = 2 if direction == "bidirectional" else 1
    expected = torch.cat((*hidden[-directions:], *cell[-directions:]), dim=1)
    # In whichever order the parts stand: a linear map follows.
    summary = made(x, LENGTHS)
    torch.testing.assert_close(summary.sort(dim=1).values, expected.sort(dim=1).values, rtol=0, atol=1e-6)
    assert made.summary_size == expected.shape[1]
    read = []
    for network in (*made.forwards, *made.backwards):
        network.register_forward_hook(lambda *_: read.append(1))
    made(x, LENGTHS)
    assert len(read) == layers * directions


@pytest.mark.parametrize(
    "summary, summary_cell", [("last", False), ("last", True), ("mean", False), ("max", False), ("attention", False)]
)
def test_reading_in_reverse_is_reading_the_reversed_words_forward(summary: Any, summary_cell: bool) -> None:
    config = EncoderConfig(hidden_size=STATE, summary=summary, summary_cell=summary_cell)
    forward = encoder(config)
    backward = Encoder(replace(config, direction="reversed"), SIZE)
    backward.load_state_dict(forward.state_dict())
    x = embedded()
    mirrored = x.clone()
    for row, length in enumerate(LENGTHS):
        mirrored[row, :length] = x[row, :length].flip(0)
    torch.testing.assert_close(backward(x, LENGTHS), forward(mirrored, LENGTHS), rtol=0, atol=1e-6)
    assert not torch.allclose(backward(x, LENGTHS), forward(x, LENGTHS), atol=1e-3)


def real_tokens(ids: Tensor, lengths: Tensor) -> list[list[int]]:
    return [row[:length] for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)]


@pytest.mark.parametrize("batch", [[[7, 8, 9], [], [5]], [[]], [[], []], [[6]]])
def test_a_view_shows_the_words_and_what_it_adds(batch: list[list[int]]) -> None:
    words, counts = sentence_words(TokenBatch.from_ids(batch))
    assert real_tokens(words, counts) == batch
    assert real_tokens(*encoder_view(words, counts, "bos")) == [[BOS, *row] for row in batch]
    assert real_tokens(*encoder_view(words, counts, "bos_eos")) == [[BOS, *row, EOS] for row in batch]
    assert real_tokens(*encoder_view(words, counts, "words")) == [row or [BLANK] for row in batch]


@pytest.mark.parametrize("view", VIEWS)
def test_behind_a_view_is_padding(view: Any) -> None:
    ids, lengths = encoder_view(*sentence_words(TokenBatch.from_ids([[7, 8, 9], [], [5]])), view)
    for row, length in zip(ids.tolist(), lengths.tolist(), strict=True):
        assert set(row[length:]) <= {PAD}


def test_right_to_left_turns_the_words_and_nothing_else() -> None:
    batch = TokenBatch.from_ids([[7, 8, 9], [], [5, 6]], index=[4, 2, 9], labels=[1, 0, 1])
    turned = right_to_left(batch)
    assert turned.inputs.tolist() == [[BOS, 9, 8, 7], [BOS, PAD, PAD, PAD], [BOS, 6, 5, PAD]]
    assert turned.targets.tolist() == [[9, 8, 7, EOS], [EOS, PAD, PAD, PAD], [6, 5, EOS, PAD]]
    for same in ("lengths", "index", "positions", "labels"):
        assert torch.equal(getattr(turned, same), getattr(batch, same))


def test_a_word_of_the_sentence_that_is_the_first_or_last_counts_in_every_direction() -> None:
    for direction in DIRECTIONS:
        made = encoder(EncoderConfig(hidden_size=STATE, direction=direction))
        x = embedded().requires_grad_()
        (gradient,) = torch.autograd.grad(made(x, LENGTHS).sum(), x)
        touched = gradient.abs().sum(2) > 0
        real = torch.arange(x.shape[1]) < LENGTHS[:, None]
        assert torch.equal(touched, real)


@pytest.mark.parametrize(
    "options", [{"summary": "mean"}, {"cell": "gru"}], ids=["no last state", "a gru has no cell state"]
)
def test_a_summary_cell_is_refused_where_there_is_none(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="summary_cell"):
        EncoderConfig(summary_cell=True, **options)


def test_dropout_is_on_embeddings_and_between_layers_in_training_only() -> None:
    x = torch.ones(1, 4000, SIZE)
    seen: list[Tensor] = []
    made = encoder(EncoderConfig(hidden_size=STATE, layers=2, dropout=0.25))
    for layer in made.forwards:
        layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    lengths = torch.tensor([4000])
    made(x, lengths)
    assert torch.equal(seen[0], x) and not bool((seen[1] == 0).any())
    seen.clear()
    made.train()(x, lengths)
    for shown in seen:
        assert abs(float((shown == 0).float().mean()) - 0.25) < 4 * (0.25 * 0.75 / shown.numel()) ** 0.5
    torch.testing.assert_close(seen[0][seen[0] > 0], torch.tensor(4 / 3).expand(int((seen[0] > 0).sum())))


@pytest.mark.parametrize("name", ["hidden_size", "layers", "summary_size"])
def test_sizes_out_of_range_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"encoder.{name} is 0"):
        EncoderConfig(**{name: 0})  # type: ignore[arg-type]  # a size each
