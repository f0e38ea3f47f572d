"""The creativity index against brute force, by hand, and through infini-gram."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from prorl_nemo.evaluation.corpus_index import (
    InfiniGramIndex,
    SuffixArrayIndex,
    read_corpus,
    split_words,
)
from prorl_nemo.evaluation.creativity import (
    analyze_creativity,
    creativity_index,
    uniqueness_by_length,
)
from tests.support.synthetic_run import BENCHMARKS, WORDS, write_synthetic_run

pytest.importorskip("pydivsufsort", reason="pydivsufsort is not installed")


def random_text(rng: np.random.Generator, num_words: int) -> str:
    return " ".join(rng.choice([f"w{i}" for i in range(12)], num_words))


def brute_force(text: str, documents: list[str], max_length: int) -> list[int]:
    words = split_words(text)
    runs = {
        tuple(split_words(d)[i : i + n])
        for d in documents
        for n in range(1, max_length + 1)
        for i in range(len(split_words(d)) - n + 1)
    }
    return [
        max(
            (n for n in range(1, min(max_length, len(words) - i) + 1)
             if tuple(words[i : i + n]) in runs),
            default=0,
        )
        for i in range(len(words))
    ]  # fmt: skip


def test_match_lengths_equal_brute_force() -> None:
    rng = np.random.default_rng(0)
    documents = [random_text(rng, 40) for _ in range(20)]
    words = documents[3].split()
    texts = [
        random_text(rng, 30),
        " ".join(words[5:30]) + " never-seen " + " ".join(words[-7:]),
        "",
        # The end of one document and the start of the next is not in the corpus.
        " ".join(documents[0].split()[-4:] + documents[1].split()[:4]),
    ]
    index = SuffixArrayIndex(documents, description="toy")
    found = index.match_lengths(texts, max_length=12)
    for text, lengths in zip(texts, found, strict=True):
        assert lengths.tolist() == brute_force(text, documents, 12)


def test_uniqueness_worked_by_hand() -> None:
    # 10 tokens; from token 2 a run of 6 matches (so 5 from token 3, 4 from token 4, ...).
    lengths = np.array([0, 0, 6, 5, 4, 3, 2, 1, 0, 0])
    values = uniqueness_by_length(lengths)
    # L = 5 and 6: tokens 2..7 are covered, 4 of 10 are not. L >= 7: nothing is covered.
    np.testing.assert_allclose(values, [0.4, 0.4, 1, 1, 1, 1, 1, 1])


def test_a_copy_scores_zero_and_an_invention_eight() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen ."
    index = SuffixArrayIndex([text, "something else"], description="toy")
    assert creativity_index(text, index) == pytest.approx(0.0)
    assert creativity_index(" ".join(reversed(text.split())), index) == pytest.approx(8.0)
    assert creativity_index("too short", index) is None


def test_copying_lowers_the_index_of_a_model(tmp_path: Path) -> None:
    run = write_synthetic_run(
        tmp_path, num_problems=6, num_samples=8, benchmarks=BENCHMARKS[:1], with_metrics=False
    )
    responses = (run / "evaluation" / "final" / "gcd.jsonl").read_text().splitlines()
    corpus = [r for line in responses for r in json.loads(line)["responses"]]
    result = analyze_creativity([run], SuffixArrayIndex(corpus, description="of final"))
    scores = {s.model: s for s in result.scores}
    assert scores["final"].mean == pytest.approx(0.0)
    assert scores["base"].mean > 5.0
    assert scores["base"].low <= scores["base"].mean <= scores["base"].high
    assert (scores["base"].num_problems, scores["base"].num_responses) == (6, 24)


def test_corpus_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("plain text")
    (tmp_path / "b.jsonl").write_text('{"text": "line one"}\n{"text": "line two"}\n')
    (tmp_path / "c.bin").write_bytes(b"\x00")
    assert sorted(read_corpus(tmp_path)) == ["line one", "line two", "plain text"]
    assert SuffixArrayIndex.from_folder(tmp_path).description.endswith(": 6 words")
    (tmp_path / "b.jsonl").write_text('{"text": "line one"}\n{"body": "line two"}\n')
    with pytest.raises(ValueError, match=r"b.jsonl:2: no text field"):
        list(read_corpus(tmp_path))
    with pytest.raises(ValueError, match=r"no \.txt, \.md, \.jsonl files"):
        list(read_corpus(tmp_path / "sub" / "empty"))


class ByteTokenizer:
    """Bytes as tokens, as infini-gram's own index of raw bytes has them."""

    eos_token_id = 0

    def __len__(self) -> int:
        return 255

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return list(text.encode())


def test_infini_gram_gives_the_coverage_of_plain_search(tmp_path: Path) -> None:
    pytest.importorskip("infini_gram", reason="infini-gram is not installed")
    rng = np.random.default_rng(2)
    documents = [" ".join(rng.choice(WORDS, 60)) for _ in range(30)]
    (tmp_path / "data").mkdir()
    lines = "".join(json.dumps({"text": d}) + "\n" for d in documents)
    (tmp_path / "data" / "corpus.jsonl").write_text(lines)
    subprocess.run(
        [sys.executable, "-m", "infini_gram.indexing", "--data_dir", str(tmp_path / "data"),
         "--save_dir", str(tmp_path / "index"), "--token_dtype", "u8", "--mem", "1",
         "--cpus", "1", "--ulimit", "1024"],
        check=True, capture_output=True,
    )  # fmt: skip
    index = InfiniGramIndex([tmp_path / "index"], ByteTokenizer(), token_dtype="u8")
    text = documents[4][10:90] + " @ " + " ".join(rng.choice(WORDS, 20))
    (found,) = index.match_lengths([text], max_length=12)
    everything = "\x00".join(documents)
    expected = []
    for start in range(len(text)):
        length = 0
        while length < 12 and start + length < len(text):
            if text[start : start + length + 1] not in everything:
                break
            length += 1
        expected.append(length)
    np.testing.assert_array_equal(
        uniqueness_by_length(found), uniqueness_by_length(np.array(expected))
    )


def test_a_folder_that_is_no_index_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("infini_gram", reason="infini-gram is not installed")
    with pytest.raises(ValueError, match="not an infini-gram index"):
        InfiniGramIndex([tmp_path], ByteTokenizer())
