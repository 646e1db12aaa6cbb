"""Key tokens in every vocabulary and format, found again by writing the whole conversation with another tool's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from tests.data.vocabularies import LLAMA3_TEMPLATE, QUOTED_TEMPLATE, TOOLS, byte_level, conversation, sentencepiece
from tl_jax.cli.data import inspect
from tl_jax.config import PktConfig, SftConfig, annotated_yaml
from tl_jax.config.pkt import PKT_MODES, PktMode
from tl_jax.data.codec import Codec
from tl_jax.data.encoding import encode
from tl_jax.data.pkt import AnswerWeights, TargetAnswer, key_weight, paper_weights
from tl_jax.data.supervision import TurnTargets
from tl_jax.data.tokenizer_file import load_tokenizer
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory
from tl_jax.tooluse.text.render import PaperRenderer, Rendered

KINDS = ["llama2", "codellama", "sentencepiece", "llama3", "qwen", "qwen-quoted"]
INFILLING = ["▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>"]
CHATS = KINDS[3:]
NOTHING = {"type": "object", "properties": {}}
PAPERS = tuple(Tool(name, "", NOTHING) for name in ("getPaperDetails", "getPapersByKeywords", "finish"))
COMBINATIONS = [(kind, name) for kind in KINDS for name in ("paper", "released")] + [(kind, "chat") for kind in CHATS]


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest):
    """Tokenizers by kind, each made when first asked for."""
    made: dict[str, PreTrainedTokenizerFast] = {}

    def make(kind: str) -> PreTrainedTokenizerFast:
        if kind in ("llama2", "codellama"):
            model = request.getfixturevalue("shared_data") / "tokenizer" / "llama2.model"
            tokenizer = load_tokenizer(model)
            if kind == "codellama":
                tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(t) for t in INFILLING]})
            return tokenizer
        if kind == "sentencepiece":
            return sentencepiece(tmp_path_factory.mktemp("sentencepiece"))
        if kind == "llama3":
            return byte_level(kind, LLAMA3_TEMPLATE)
        return byte_level("qwen", QUOTED_TEMPLATE) if kind == "qwen-quoted" else byte_level(kind)

    def get(kind: str) -> PreTrainedTokenizerFast:
        if kind not in made:
            made[kind] = make(kind)
        return made[kind]

    return get


@pytest.mark.parametrize(
    ("call", "keys", "others"),
    [
        (
            Call("getPapersByKeywords", {"query": "tool learning", "venue": "ICLR", "limit": 1}),
            {0: "▁get", 2: "apers"},
            23,
        ),
        (Call("getPaperDetails", {"paperId": "ICLR2024TOOLLEARNING"}), {0: "▁get", 2: "aper"}, 18),
        (Call("finish", {"answer": "I have " + "found " * 42}), {0: "▁finish"}, 49),
    ],
)
def test_the_papers_figure(llama: PreTrainedTokenizerFast, call: Call, keys: dict[int, str], others: int) -> None:
    """Key tokens, |NK| (the stop token is not counted) and w = 9 of the figure's three answers, as it writes them."""
    messages = (Message("user", "?"), Message("assistant", "", (call,)))
    written = PaperRenderer().render(PAPERS, messages)
    turn = written.turns[0]
    blank = turn.answer[1] - 1  # the figure has no blank after the call
    assert written.text[blank:] == " "
    rendered = Rendered(
        written.text[:blank], written.messages, (), (replace(turn, answer=(turn.answer[0], blank)),), closed_by_eos=True
    )
    encoded = encode(rendered, llama)
    ids, names = encoded.ids[encoded.turns[0].start : encoded.turns[0].end], tuple(tool.name for tool in PAPERS)
    found = paper_weights(TargetAnswer(encoded.turns[0], ids, (call.name,), names, "paper", llama), 9.0)
    answer = llama.convert_ids_to_tokens(ids.tolist())
    assert {key: answer[key] for key in found.keys} == keys
    assert len(answer) - len(keys) == others
    assert [found.raw[key] for key in keys] == [9.0] * len(keys)
    assert found.raw.sum() == found.normaliser == 9.0 * len(keys) + others + 1


@pytest.mark.parametrize(
    ("tokens", "keys", "expected"),
    [(10, 0, 1.0), (10, 1, 9.0), (11, 1, 9.0), (10, 2, 4.0), (3, 2, 1.0), (4, 4, 1.0), (1, 1, 1.0)],
)
def test_weight_is_clipped_on_both_sides(tokens: int, keys: int, expected: float) -> None:
    assert key_weight(tokens, keys, 9.0) == expected


def test_a_name_that_is_not_offered_is_compared_with_all_others(llama: PreTrainedTokenizerFast) -> None:
    messages = (Message("user", "?"), Message("assistant", "", (Call("getPaper", {}),)))
    example = Codec.open("paper", llama).supervise(Trajectory("x", PAPERS, messages), PktConfig())
    (found,) = example.targets
    answer = llama.convert_ids_to_tokens(example.labels[found.span].tolist())
    assert [answer[key] for key in found.keys] == ["▁get", "aper", "()"]


def expected_keys(rendered: Rendered, number: int, calls: Sequence[Call], tokenizer, special: bool) -> list[set[int]]:
    """For each call of a turn: where its name's tokens begin, and where the stream parts from that of another name.

    The stream is what the tokenizer itself makes of the text up to the answer's end, in one piece.
    """
    turn = rendered.turns[number]
    text = rendered.text[: turn.answer[1]]
    encoding = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
    found = []
    for call, span in zip(calls, turn.calls, strict=True):
        start, end = span.name
        assert text[start:end] == call.name
        first = next(i for i, offset in enumerate(encoding.offset_mapping) if offset[1] > start)
        keys = {first}
        for tool in TOOLS:
            if tool.name != call.name:
                other = tokenizer(text[:start] + tool.name + text[end:], add_special_tokens=special).input_ids
                parting = next(i for i, token in enumerate(encoding.input_ids) if token != other[i])
                keys |= {parting} if parting > first else set()
        found.append(keys)
    return found


@pytest.mark.parametrize(("kind", "name"), COMBINATIONS)
def test_keys_are_where_another_name_would_part(vocabularies, kind: str, name: str) -> None:
    tokenizer, trajectory = vocabularies(kind), conversation()
    codec = Codec.open(name, tokenizer)
    example = codec.supervise(trajectory, PktConfig(mode="paper"))
    rendered = codec.renderer.render(trajectory.tools, trajectory.messages)
    texts, several, prose = 0, 0, 0
    for number, found in enumerate(example.targets):
        message = trajectory.messages[found.message]
        each = expected_keys(rendered, number, message.tool_calls, tokenizer, name != "chat")
        keys = {key - found.predict_from - 1 for of_call in each for key in of_call}
        assert set(found.keys) == keys
        n = len(found.raw) - 1
        weight = min(9.0, max(1.0, (n - len(keys)) / len(keys))) if keys else 1.0
        assert found.raw.tolist() == [weight if i in keys else 1.0 for i in range(n + 1)]
        assert found.normaliser == pytest.approx(sum(found.raw))
        texts += not keys
        several += len(each) > 1
        prose += bool(each and message.content)
        if len(each) > 1:  # no call's keys are another's
            assert len(keys) == sum(map(len, each))
    assert (texts, several, prose) == (1, 1, 1)


@pytest.mark.parametrize(("kind", "name"), COMBINATIONS)
def test_what_the_key_tokens_say(vocabularies, kind: str, name: str) -> None:
    """The text at the key tokens: the first one begins the name, one follows it where the name begins another's."""
    tokenizer, trajectory = vocabularies(kind), conversation()
    codec = Codec.open(name, tokenizer)
    rendered = codec.renderer.render(trajectory.tools, trajectory.messages)
    encoded = codec.encode(trajectory.tools, trajectory.messages)
    example = codec.supervise(trajectory, PktConfig(mode="paper"))
    for found, turn in zip(example.targets, rendered.turns, strict=True):
        calls = trajectory.messages[found.message].tool_calls
        if len(calls) != 1:
            continue
        start, end = turn.calls[0].name
        first, *others = (encoded.offsets[found.predict_from + 1 + key].tolist() for key in found.keys)
        assert first[0] <= start < first[1]
        before = rendered.text[first[0] : start]
        assert before.strip("\" '▁") == ""  # a quote or a blank, if anything
        assert all(start < other[0] <= end for other in others)
        begins_another = any(tool.name.startswith(calls[0].name) for tool in TOOLS if tool.name != calls[0].name)
        if begins_another and calls[0].name in ("get_weather", "random_advice"):
            assert any(low <= end < high or low == end for low, high in others)


def test_quotes_merge_with_names_in_one_template_and_not_in_the_other(vocabularies) -> None:
    trajectory = conversation()
    for kind, merged in (("qwen-quoted", True), ("qwen", False), ("llama3", False)):
        tokenizer = vocabularies(kind)
        example = Codec.open("chat", tokenizer).supervise(trajectory, PktConfig(mode="paper"))
        first = example.targets[0]
        token = tokenizer.decode([int(example.labels[first.predict_from + first.keys[0]])])
        assert token.startswith('"g') == merged, token
        assert token.startswith("g") != merged


@pytest.mark.parametrize(("kind", "digits"), [("llama3", ["123"]), ("qwen", ["1", "2", "3"])])
def test_digits_are_split_as_in_the_big_vocabulary(vocabularies, kind: str, digits: list[str]) -> None:
    tokenizer = vocabularies(kind)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("step123", add_special_tokens=False).input_ids)
    assert tokens[-len(digits) :] == digits
    tools = tuple(tool for tool in TOOLS if tool.name.startswith("step"))
    messages = (Message("user", "?"), Message("assistant", "", (Call("step12"),)))
    codec = Codec.open("paper", tokenizer)
    example = codec.supervise(Trajectory("x", tools, messages), PktConfig(mode="paper"))
    (found,) = example.targets
    words = len(tokenizer(" step", add_special_tokens=False).input_ids)
    # three digits are one token of their own; one by one, "1" and "12" begin "123"
    assert found.keys == ((0, words) if kind == "llama3" else (0, words + 1, words + 2))


def reference(found: TurnTargets, keys: set[int], closers: set[int], ce: np.ndarray) -> float:
    """method: K weighs min(|O| / |K|, 9) if |K| < |O|, else 1; O are the targets without K and P."""
    targets = set(range(len(found.raw)))
    others = targets - keys - closers
    w = min(len(others) / len(keys), 9) if len(keys) < len(others) else 1
    total = w * sum(ce[t] for t in keys) + sum(ce[t] for t in closers) + sum(ce[t] for t in others)
    return float(total / (w * len(keys) + len(targets - keys)))


@pytest.mark.parametrize("kind", CHATS)
def test_reference_arithmetic_in_a_chat_template(vocabularies, kind: str) -> None:
    """K as in `paper` mode; P is the token after each argument's value, found here by searching the text."""
    tokenizer, trajectory = vocabularies(kind), conversation()
    codec = Codec.open("chat", tokenizer)
    example = codec.supervise(trajectory, PktConfig(mode="reference"))
    rendered = codec.renderer.render(trajectory.tools, trajectory.messages)
    text = rendered.text
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    random, differs = np.random.default_rng(0), 0
    for number, found in enumerate(example.targets):
        calls, position = trajectory.messages[found.message].tool_calls, rendered.turns[number].answer[0]
        ce, closers = random.exponential(size=len(found.raw)), set()
        for call in calls:
            position = text.index(call.name, position)
            for value in call.arguments.values():
                written = str(value) if isinstance(value, int) else f'"{value}"'
                position = text.index(written, position) + len(written)
                closers.add(next(i for i, (_, end) in enumerate(offsets) if end > position) - found.predict_from - 1)
        each = expected_keys(rendered, number, calls, tokenizer, special=False)
        keys = {key - found.predict_from - 1 for of_call in each for key in of_call}
        expected = reference(found, keys, closers, ce) if keys else ce.mean()
        assert float(found.raw @ ce) / found.normaliser == pytest.approx(expected, rel=1e-12)
        span = found.span
        assert float(example.weights[span] @ ce) == pytest.approx(expected, rel=1e-6)
        n = len(found.raw) - 1
        differs += bool(keys) and found.raw.max() != min(9.0, max(1.0, (n - len(keys)) / len(keys)))
    assert differs  # EOS counts and closers do not


def test_reference_in_a_byte_level_vocabulary_begins_at_the_answer(vocabularies) -> None:
    """Where the role marker is one token the released code stops; here the answer begins where it does."""
    tokenizer = vocabularies("llama3")
    messages = (Message("user", "?"), Message("assistant", "", (Call("getPaperDetails", {"paperId": "12"}),)))
    codec = Codec.open("paper", tokenizer)
    example = codec.supervise(Trajectory("x", TOOLS, messages), PktConfig(mode="reference"))
    (found,) = example.targets
    assert found.keys[0] == 0
    assert found.raw[0] > 1
    paper = codec.supervise(Trajectory("x", TOOLS, messages), PktConfig(mode="paper"))
    assert found.keys == paper.targets[0].keys


def double(answer: TargetAnswer, max_weight: float) -> AnswerWeights:
    """Every token of a name weighs twice as much."""
    raw = np.ones(len(answer.ids) + 1)
    for call in answer.turn.calls:
        raw[call.name[0] - answer.turn.start : call.name[1] - answer.turn.start] = min(2.0, max_weight)
    return AnswerWeights(raw, float(raw.sum()))


def test_a_mode_of_ones_own_is_one_record(bpe: PreTrainedTokenizerFast) -> None:
    with PKT_MODES.added(PktMode(name="names", compute=double, weight="2", about="every token of a name")):
        config = PktConfig(mode="names")
        assert "paper|reference|names" in CliRunner().invoke(inspect, ["--help"]).output
        assert "none | paper | reference | names" in annotated_yaml(SftConfig)
        example = Codec.open("paper", bpe).supervise(conversation(), config)
    for found, (_, message) in zip(example.targets, conversation().turns, strict=True):
        assert (found.raw == 2).any() == bool(message.tool_calls)
    with pytest.raises(ValidationError, match="did you mean 'none'"):
        PktConfig(mode="nome")
