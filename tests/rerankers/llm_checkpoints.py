"""Small checkpoints with random weights in the layout of the released rerankers that are language models.

Each has a real tokenizer of its kind, trained here on a page of text, so that prompts split into tokens as they would.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from checkpoints import State, save
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

Edit = Callable[[State], None]

LAYERS, START = 4, 2  # of the models that score after any layer from START on
QUERY = "how often is a task retried?"
TEXTS = [
    "A task is retried five times, then it is set aside.",
    "网关限流：每分钟六百次。",
    "",
    "queue " * 40,
    "A worker pulls tasks from the queue.\n\nIt retries them.",
    "yes",
]

_ANSWERS = ["true", "false", "yes", "no"]
_PAGE = [
    "Yes", "No", *_ANSWERS,
    QUERY, *TEXTS,
    "Given a web search query, retrieve relevant passages that answer the query",
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
    'answer can only be "yes" or "no".',
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
    "prediction of either 'Yes' or 'No'.",
    "Predict whether passage B contains an answer to query A.",
    "A: B: <Instruct>: <Query>: <Document>: Query: Document: Relevant: system user assistant",
]  # fmt: skip
_QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_WIDE = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "initializer_range": 0.3}


def write_qwen3(folder: Path, *, architecture: str = "Qwen3ForCausalLM", seed: int = 2, **changes: Any) -> Path:
    """Write a checkpoint laid out as Qwen/Qwen3-Reranker-0.6B is: tied embeddings, `<|endoftext|>` as padding."""
    import transformers

    vocabulary = _write_tokenizer(folder, qwen_tokenizer(), "Qwen2Tokenizer", pad="<|endoftext|>", eos="<|im_end|>")
    settings = {
        **_WIDE,
        "vocab_size": vocabulary,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
    }
    torch.manual_seed(seed)
    model = getattr(transformers, architecture)(transformers.Qwen3Config(**{**settings, **changes}))
    model.save_pretrained(folder)
    return folder


def write_gemma(folder: Path, *, seed: int = 2, **changes: Any) -> Path:
    """Write a checkpoint laid out as BAAI/bge-reranker-v2-gemma is."""
    from transformers import GemmaConfig, GemmaForCausalLM

    vocabulary = _write_tokenizer(folder, gemma_tokenizer(), "GemmaTokenizer", bos="<bos>", pad="<pad>", eos="<eos>")
    settings = {
        **_WIDE,
        "vocab_size": vocabulary,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 2048,
    }
    torch.manual_seed(seed)
    GemmaForCausalLM(GemmaConfig(**{**settings, **changes})).save_pretrained(folder)
    return folder


def write_layerwise(folder: Path, *, seed: int = 0, edit: Edit | None = None, **changes: Any) -> Path:
    """Write a checkpoint laid out as BAAI/bge-reranker-v2-minicpm-layerwise is: MiniCPM, a head after each layer."""
    vocabulary = _write_tokenizer(folder, llama_tokenizer(), "LlamaTokenizer", bos="<s>", pad="<pad>", eos="</s>")
    config = {
        "architectures": ["LayerWiseMiniCPMForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_minicpm_reranker.LayerWiseMiniCPMForCausalLM"},
        "model_type": "minicpm",
        **_WIDE,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "dim_model_base": 256,
        "eos_token_id": 2,
        "head_multi": True,
        "head_type": "simple",
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": 4,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "scale_depth": 1.4,
        "scale_emb": 12,
        "start_layer": START,
        "torch_dtype": "float32",
        "use_cache": False,
        "vocab_size": vocabulary,
        **changes,
    }
    norms = ("input_layernorm", "post_attention_layernorm")
    _write_layers(folder, config, norms, head_dim=8, heads=LAYERS + 1 - START, seed=seed, edit=edit)
    return folder


def write_lightweight(folder: Path, *, seed: int = 0, edit: Edit | None = None, **changes: Any) -> Path:
    """Write a checkpoint laid out as BAAI/bge-reranker-v2.5-gemma2-lightweight is: Gemma 2, a head after each layer."""
    vocabulary = _write_tokenizer(folder, gemma_tokenizer(), "GemmaTokenizer", bos="<bos>", pad="<pad>", eos="<eos>")
    config = {
        "architectures": ["CostWiseGemmaForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": "gemma_model.CostWiseGemmaForCausalLM"},
        "model_type": "cost_wise_gemma",
        **_WIDE,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": 50.0,
        "bos_token_id": 2,
        "cache_implementation": "hybrid",
        "eos_token_id": 1,
        "final_logit_softcapping": 30.0,
        "head_dim": 16,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "layer_sep": 1,
        "layer_wise": True,
        "max_position_embeddings": 8192,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "query_pre_attn_scalar": 16,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "sliding_window_size": 4096,
        "start_layer": START,
        "torch_dtype": "float32",
        "use_cache": False,
        "vocab_size": vocabulary,
        **changes,
    }
    norms = [f"{name}_layernorm" for name in ("input", "post_attention", "pre_feedforward", "post_feedforward")]
    _write_layers(folder, config, norms, head_dim=16, heads=LAYERS + 1 - START, seed=seed, edit=edit)
    return folder


def write_t5(folder: Path, kind: str = "t5", *, fast: bool = True, seed: int = 2) -> Path:
    """Write a checkpoint laid out as castorini/monot5-base-msmarco ("t5") or unicamp-dl/mt5-base-mmarco-v2 ("mt5") is.

    Args:
        folder: made if missing.
        kind: "t5" (embeddings that serve as the head too) or "mt5" (a head of its own).
        fast: with tokenizer.json; otherwise with spiece.model only, as both were published.
        seed: of the random weights.
    """
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = t5_tokenizer()
    if fast:
        vocabulary = _write_tokenizer(folder, tokenizer, "T5Tokenizer", pad="<pad>", eos="</s>")
    else:
        vocabulary = _write_spiece(folder)
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "initializer_factor": 1.0}
    tokens = {"vocab_size": vocabulary, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(seed)
    if kind == "t5":
        config = transformers.T5Config(**shape, **tokens)
        model: Any = transformers.T5ForConditionalGeneration(config)
    else:
        config = transformers.MT5Config(**shape, **tokens, feed_forward_proj="gated-gelu")
        model = transformers.MT5ForConditionalGeneration(config)
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    if kind == "mt5":
        state["lm_head.weight"] = 0.3 * torch.randn_like(state["lm_head.weight"])
    config.architectures = [type(model).__name__]
    settings = {**config.to_dict(), "tie_word_embeddings": kind == "t5"}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    save(state, folder / "pytorch_model.bin")
    return folder


def qwen_tokenizer() -> Tokenizer:
    """Byte-level BPE with Qwen's split and NFC, no token at the beginning."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_PAGE * 3, trainer)
    return tokenizer


def gemma_tokenizer() -> Tokenizer:
    """SentencePiece's BPE as Gemma has it: no prefix space, bytes for what is unknown, `<bos>` at the beginning."""
    tokenizer = _sentencepiece_bpe(["<pad>", "<eos>", "<bos>", "<unk>"], normalizers.Replace(" ", "▁"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)]
    )
    return tokenizer


def llama_tokenizer() -> Tokenizer:
    """SentencePiece's BPE as Llama and MiniCPM have it: a prefix space, `<s>` at the beginning."""
    blank = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer = _sentencepiece_bpe(["<unk>", "<s>", "</s>", "<pad>"], blank)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def t5_tokenizer() -> Tokenizer:
    """SentencePiece's unigram model as T5 has it: a prefix space, `</s>` at the end."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token=special[2], show_progress=False)
    tokenizer.train_from_iterator(_PAGE * 3, trainer)
    state = json.loads(tokenizer.to_str())
    pieces = [piece for piece, _ in state["model"]["vocab"]]
    state["model"]["vocab"] += [[f"▁{word}", -2.0] for word in _ANSWERS if f"▁{word}" not in pieces]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def token_of(folder: Path, text: str, *others: str) -> int:
    """Return a token that a text has and others have not."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids, *rest = (set(tokenizer.encode(item).ids) for item in (text, *others, *_PAGE[6:7], *_PAGE[-7:]))
    return max(ids.difference(*rest))


def _sentencepiece_bpe(special: list[str], normalizer: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106
    tokenizer.normalizer = normalizer
    octets = [f"<0x{i:02X}>" for i in range(256)]
    words = [word for line in _PAGE * 3 for word in line.replace(" ", " ▁").split(" ")]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=[*special, *octets], show_progress=False)
    tokenizer.train_from_iterator(words, trainer)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    state = json.loads(tokenizer.to_str())  # bytes are tokens like any other, not special ones
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in special]
    return Tokenizer.from_str(json.dumps(state))


def _write_tokenizer(folder: Path, tokenizer: Tokenizer, kind: str, **special: str) -> int:
    """Write tokenizer.json and tokenizer_config.json; return the size of the vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": kind,
        "model_max_length": 32_768,
        "padding_side": "left" if kind != "T5Tokenizer" else "right",
    }
    settings.update({f"{name}_token": token for name, token in special.items()})
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return int(tokenizer.get_vocab_size())


def _write_spiece(folder: Path) -> int:
    """Write spiece.model, which sentencepiece itself trains, with T5's special tokens; return the vocabulary's size."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_PAGE * 3),
        user_defined_symbols=[f"▁{word}" for word in _ANSWERS],
        model_prefix=str(folder / "spiece"),
        vocab_size=300,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (folder / "spiece.vocab").unlink()
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return int(sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model")).vocab_size())


def _write_layers(
    folder: Path,
    config: dict[str, Any],
    norms: Sequence[str],
    *,
    head_dim: int,
    heads: int,
    seed: int,
    edit: Edit | None,
) -> None:
    """Write config.json and the weights of a decoder with a head of one output after each of its last layers."""
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries, keys = head_dim * config["num_attention_heads"], head_dim * config["num_key_value_heads"]
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int, wide: float = 0.3) -> torch.Tensor:
        return torch.randn(*shape, generator=random) * wide

    centre = 0.0 if config["model_type"] == "cost_wise_gemma" else 1.0  # Gemma multiplies by 1 + weight
    state = {"model.embed_tokens.weight": normal(config["vocab_size"], hidden)}
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}"
        state[f"{at}.self_attn.q_proj.weight"] = normal(queries, hidden)
        state[f"{at}.self_attn.k_proj.weight"] = normal(keys, hidden)
        state[f"{at}.self_attn.v_proj.weight"] = normal(keys, hidden)
        state[f"{at}.self_attn.o_proj.weight"] = normal(hidden, queries)
        state[f"{at}.mlp.gate_proj.weight"] = normal(inner, hidden)
        state[f"{at}.mlp.up_proj.weight"] = normal(inner, hidden)
        state[f"{at}.mlp.down_proj.weight"] = normal(hidden, inner)
        state.update({f"{at}.{norm}.weight": centre + normal(hidden, wide=0.1) for norm in norms})
    state["model.norm.weight"] = centre + normal(hidden, wide=0.1)
    state.update({f"lm_head.{i}.linear_head.weight": normal(1, hidden) for i in range(heads)})
    if edit:
        edit(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
