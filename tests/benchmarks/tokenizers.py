"""Token ids in a graph: equality with the reference, rates, memory for new words.

10,000 texts of some 20 to 30 tokens, in batches of 256. KerasHub's byte pairs keep each
word they have seen: their first pass over the texts is the one that serving has for
new words. BERT's vocabulary is MiniLM's; CLIP's is open_clip's if `make peer` was run,
else its first 510 merges; GPT-2's kind is trained on half of the texts. Targets: equal
on all texts; CLIP at 5 times KerasHub's rate.
"""

import pathlib
import time
from collections.abc import Callable

import keras_hub
import tensorflow as tf
from tokenizers import Tokenizer

from kmmft.encoders.checkpoint_tokenizers import _open_clip_vocabulary
from kmmft.encoders.graph_tokens import graph_tokens
from kmmft.evaluation import Table
from tests.benchmarks.own_process import HAS_PEER, PEER, output_of
from tests.encoders import reference_tokenizers as references
from tests.encoders.text_corpus import corpus

BATCH = 256
NEW_WORDS = 400_000
MEMORY = """
import sys
import keras_hub
import tensorflow as tf
from kmmft.encoders.graph_tokens import graph_tokens
from kmmft.evaluation import peak_memory_mb
from tests.encoders.reference_tokenizers import golden_clip
tokenizer = keras_hub.tokenizers.CLIPTokenizer(*golden_clip())
ours = sys.argv[2] == "kmmft"
tokenise = tf.function(
    lambda texts: graph_tokens(tokenizer, texts) if ours else tokenizer(texts),
    input_signature=[tf.TensorSpec([None], tf.string)],
)
letters = str.maketrans("0123456789", "ghijklmnop")
number, before = int(sys.argv[1]), 0
for at in range(0, number, 1000):
    before = peak_memory_mb() if at == number // 10 else before  # warm by then
    words = [f"{word:x}".translate(letters) for word in range(at, at + 1000)]
    tokenise(tf.constant(words))
print(peak_memory_mb() - before)
"""
FIND_CLIP = """
import importlib.util, pathlib
found = pathlib.Path(importlib.util.find_spec("open_clip").origin)
print(found.parent / "bpe_simple_vocab_16e6.txt.gz")
"""


def in_graph(function: Callable) -> Callable:
    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(function, input_signature=signature)


def ids_and_rate(tokenise: Callable) -> tuple[list[list[int]], float]:
    """Token ids of the texts, and texts for each second of a core."""
    texts = corpus()
    batches = [tf.constant(texts[at : at + BATCH]) for at in range(0, 10_000, BATCH)]
    start = time.process_time()
    rows = [tokenise(batch) for batch in batches]
    seconds = time.process_time() - start
    return [row for batch in rows for row in batch.to_list()], len(texts) / seconds


def reference_rate(peer: Tokenizer) -> tuple[list[list[int]], float]:
    start = time.process_time()
    rows = [peer.encode(text).ids for text in corpus()]
    return rows, len(rows) / (time.process_time() - start)


def row(name: str, tokenizer, peer: Tokenizer, lower: bool = False) -> list[str]:
    """One family: equal texts of ours and KerasHub's, and the rates of all."""

    def as_it_is(texts):
        return tokenizer(tf.strings.lower(texts, "utf-8") if lower else texts)

    expected, reference = reference_rate(peer)
    ours = in_graph(lambda texts: graph_tokens(tokenizer, texts))
    theirs = in_graph(as_it_is)
    for function in (ours, theirs):
        function(tf.constant(["a"]))  # traces
    token_ids, rate = ids_and_rate(ours)
    other_ids, first = ids_and_rate(theirs)
    _, again = ids_and_rate(theirs)
    return [
        name,
        share(token_ids, expected),
        share(other_ids, expected),
        f"{rate:,.0f}",
        f"{first:,.0f}",
        f"{again:,.0f}",
        f"{reference:,.0f}",
    ]


def share(rows: list[list[int]], expected: list[list[int]]) -> str:
    equal = sum(a == b for a, b in zip(rows, expected, strict=True))
    return f"{equal / len(expected):.2%}"


def clip_vocabulary() -> tuple[dict[str, int], list[str]]:
    if not HAS_PEER:
        return references.golden_clip()
    path = pathlib.Path(output_of(FIND_CLIP, python=PEER).strip())
    return _open_clip_vocabulary(path)


def measure() -> Table:
    bert, tokenizers = references.minilm_vocabulary(), keras_hub.tokenizers
    cased = tokenizers.BertTokenizer(bert)
    uncased = tokenizers.BertTokenizer(bert, lowercase=True, strip_accents=True)
    pairs, words = references.byte_pairs(), clip_vocabulary()
    roberta = tokenizers.RobertaTokenizer(*pairs)
    clip = tokenizers.CLIPTokenizer(*words)
    rows = [
        row("BERT, uncased", uncased, references.bert(True, True)),
        row("BERT, cased", cased, references.bert(False, False)),
        row("RoBERTa, BART, GPT-2", roberta, references.byte_level(*pairs)),
        row("CLIP", clip, references.clip(*words), lower=True),
    ]
    for way in ("kmmft", "KerasHub"):
        grown = f"{float(output_of(MEMORY, NEW_WORDS, way)):.0f} MiB"
        rows.append([f"{NEW_WORDS:,} new words", way, grown, *[""] * 4])
    return Table(
        "Tokenizers in a graph, texts per core second",
        ["family", "equal", "KerasHub's", "kmmft", "KerasHub", "again", "tokenizers"],
        rows,
    )
