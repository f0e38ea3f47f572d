"""A character tokenizer for the tiny model, with one token per recurring phrase.

Reasoning Gym wraps a few operands in a sentence that is the same for every problem of a
data set. As one token each, those phrases cost a small model nothing, and the real prompts
can be used as they are.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

MIN_PHRASE_CHARACTERS = 6
PAD, EOS, UNKNOWN, ANSWER = "<|pad|>", "<|end|>", "<|unknown|>", "<|answer|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}" + ANSWER + "{% endif %}"
)


def make_character_tokenizer(prompts_by_task: Sequence[Sequence[str]]) -> PreTrainedTokenizerFast:
    """A tokenizer for printable ASCII and the phrases common to each task's prompts."""
    found = {phrase for prompts in prompts_by_task for phrase in find_phrases(prompts)}
    phrases = sorted(found, key=lambda phrase: (-len(phrase), phrase))
    vocabulary = [PAD, EOS, UNKNOWN, ANSWER, *string.printable]
    tokenizer = Tokenizer(
        models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token=UNKNOWN)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([PAD, EOS, UNKNOWN, ANSWER])
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in phrases])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def find_phrases(texts: Sequence[str]) -> list[str]:
    """Substrings that every text contains in the same order, longest first; [] for one text."""
    if len(set(texts)) < 2:
        return []
    phrase = _trim_to_words(_longest_common_substring(texts), texts)
    if len(phrase) < MIN_PHRASE_CHARACTERS:
        return []
    before = [text[: text.index(phrase)] for text in texts]
    after = [text[text.index(phrase) + len(phrase) :] for text in texts]
    return [phrase, *find_phrases(before), *find_phrases(after)]


def _longest_common_substring(texts: Sequence[str]) -> str:
    """Binary search on the length; the first such substring of the shortest text."""
    shortest = min(texts, key=len)
    found, low, high = "", 1, len(shortest)
    while low <= high:
        middle = (low + high) // 2
        candidate = next(
            (
                shortest[i : i + middle]
                for i in range(len(shortest) - middle + 1)
                if all(shortest[i : i + middle] in text for text in texts)
            ),
            None,
        )
        if candidate is None:
            high = middle - 1
        else:
            found, low = candidate, middle + 1
    return found


def _trim_to_words(phrase: str, texts: Sequence[str]) -> str:
    """Cut letters and digits at the ends that could belong to an operand."""
    if not all(text.startswith(phrase) for text in texts):
        phrase = phrase.lstrip(string.ascii_letters + string.digits)
    if not all(text.endswith(phrase) for text in texts):
        phrase = phrase.rstrip(string.ascii_letters + string.digits)
    return phrase
