"""Train the tokenizer: a unigram vocabulary with XLM-RoBERTa's special tokens and post-processor.

Three choices differ from XLM-RoBERTa's own, all for a vocabulary that is thirty times smaller. Text is lower-cased and
punctuation becomes a space, as in a word index, so that no room in the vocabulary or the context goes to Markdown.
createApp is read as "create app", so that a question about creating an app can match it. And no Chinese piece is longer
than two characters: a unigram model otherwise learns whole phrases, and a phrase matches nothing but itself.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.decoders import Metaspace as MetaspaceDecoder
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_ENDS = [("<s>", 0), ("</s>", 2)]
_LEAST_COUNT = 12  # of a whole word that gets a piece of its own
_HAN = r"\u4e00-\u9fff\u3400-\u4dbf"


def build(model: Unigram) -> Tokenizer:
    """Return a tokenizer around a vocabulary."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(r"(?<=\p{Ll})(?=\p{Lu})"), " "),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[^\p{L}\p{N}\p{M}]+"), " "),
            # the start of a word, for scripts that have words: not before digits, not before Chinese
            normalizers.Replace(Regex(rf"(?<![^ \p{{N}}{_HAN}])(?=[^ \p{{N}}{_HAN}])"), "▁"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(rf"[{_HAN}]+"), "isolated"),
            pre_tokenizers.Split("▁", "merged_with_next"),
            pre_tokenizers.Digits(individual_digits=False),
        ]
    )
    tokenizer.decoder = MetaspaceDecoder(prepend_scheme="never")
    return tokenizer


def train(texts: list[str], size: int) -> Tokenizer:
    """Train on texts, put frequent whole words in, and drop long Chinese pieces and the rarest characters."""
    tokenizer = build(Unigram())
    words = Counter(piece for text in texts for piece in _words(tokenizer, text))
    characters = Counter(character for word, count in words.items() for character in word * min(count, 3))
    trainer = UnigramTrainer(
        vocab_size=2 * size, special_tokens=SPECIAL, unk_token=SPECIAL[3], max_piece_length=14, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    found = [tuple(piece) for piece in json.loads(tokenizer.to_str())["model"]["vocab"]][len(SPECIAL) :]
    phrase = re.compile(rf"[{_HAN}]{{3,}}")
    pieces = {piece: score for piece, score in found if len(piece) > 1 and not phrase.search(piece)}
    total = sum(words.values())
    for word, count in words.most_common():
        if count >= _LEAST_COUNT and 1 < len(word) <= 20 and not phrase.search(word) and not word[-1].isdigit():
            pieces[word] = max(math.log(count / total), pieces.get(word, -99.0))
    single = {piece: score for piece, score in found if len(piece) == 1 and characters[piece] >= 3}
    best = sorted(pieces.items(), key=lambda item: -item[1])[: size - len(SPECIAL) - len(single)]
    kept = sorted([*single.items(), *best], key=lambda item: -item[1])
    vocabulary = [(token, 0.0) for token in SPECIAL] + [(piece, round(score, 4)) for piece, score in kept]
    final = build(Unigram(vocabulary, unk_id=SPECIAL.index("<unk>"), byte_fallback=False))
    final.add_special_tokens(SPECIAL)
    final.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", _ENDS)
    return final


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    normal = tokenizer.normalizer.normalize_str(text)
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


def texts(work: Path) -> Iterator[str]:
    """Yield the headings and bodies of the training sections."""
    with (work / "sections.jsonl").open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row["train"]:
                yield row["heading"]
                yield row["body"]


def save(tokenizer: Tokenizer, folder: Path, max_length: int, *, typed: bool = False) -> None:
    """Write tokenizer.json and tokenizer_config.json for transformers' plain fast tokenizer.

    `typed` gives the second text of a pair token type 1, the `</s>` that opens it included.
    """
    if typed:
        pair = "<s>:0 $A:0 </s>:0 </s>:1 $B:1 </s>:1"
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", pair, _ENDS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    roles = ("bos", "cls", "eos", "sep", "pad", "unk", "mask")
    tokens = ("<s>", "<s>", "</s>", "</s>", "<pad>", "<unk>", "<mask>")
    names = {f"{role}_token": token for role, token in zip(roles, tokens, strict=True)}
    config: dict[str, Any] = {
        **names,
        "model_max_length": max_length,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if typed:
        config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def without_rarest(tokenizer: Tokenizer, sample: list[str], drop: int) -> tuple[Tokenizer, list[int]]:
    """Leave out the pieces that a sample uses least, single characters never; also return the ids that stay, in order.

    A word that loses its piece is spelt with smaller ones.
    """
    used = Counter(i for item in tokenizer.encode_batch_fast(sample, add_special_tokens=False) for i in item.ids)
    settings = json.loads(tokenizer.to_str())
    pieces = settings["model"]["vocab"]
    whole = [i for i in range(len(SPECIAL), len(pieces)) if len(pieces[i][0].removeprefix("▁")) > 1]
    gone = set(sorted(whole, key=lambda i: used[i])[:drop])
    kept = [i for i in range(len(pieces)) if i not in gone]
    settings["model"]["vocab"] = [pieces[i] for i in kept]
    return Tokenizer.from_str(json.dumps(settings)), kept


def load(work: Path) -> Tokenizer:
    """Load the tokenizer that `main` wrote."""
    return Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))


def main() -> None:
    """Train and save the tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=10_600)
    arguments = parser.parse_args()
    tokenizer = train(list(texts(arguments.work)), arguments.size)
    save(tokenizer, arguments.work / "tokenizer", max_length=512)
    sample = list(texts(arguments.work))[1::40]
    tokens = [token for item in tokenizer.encode_batch_fast(sample) for token in item.tokens[1:-1]]
    ids = [i for item in tokenizer.encode_batch_fast(sample) for i in item.ids[1:-1]]
    unknown = sum(i == SPECIAL.index("<unk>") for i in ids)
    print(f"{tokenizer.get_vocab_size()} pieces; {len(tokens) / len(sample):.0f} tokens a section, {unknown} unknown")


if __name__ == "__main__":
    main()
