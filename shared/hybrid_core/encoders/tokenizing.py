"""Loading the tokenizer of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelLoadError, require


def load_tokenizer(folder: Path, name: str) -> Any:
    """Return the fast tokenizer itself, without truncation or padding, whose state threads would fight over.

    tokenizer.json is read as it was published; only a checkpoint without one needs transformers to convert its files.
    """
    file = folder / "tokenizer.json"
    try:
        tokenizers = require("tokenizers", "onnx")
        if file.is_file():
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        else:
            transformers = require("transformers", "torch")
            loaded = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            tokenizer = tokenizers.Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    except ImportError:
        raise
    except Exception as error:  # transformers, tokenizers and sentencepiece each raise their own for a bad file
        raise ModelLoadError(f"the tokenizer of {name!r} cannot be loaded: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_ids(tokenizer: Any) -> NDArray[np.int64]:
    """Tokens that carry no lexical meaning: beginning, end, padding, unknown (as in FlagEmbedding)."""
    ids = [tokenizer.token_to_id(token) for token in ("<s>", "</s>", "<pad>", "<unk>")]
    return np.array([i for i in ids if i is not None], dtype=np.int64)
