"""What int8 costs in quality: nDCG@10 of the small models in every precision, on public sets in BEIR's files."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from tokenizers import Tokenizer

from hybrid_core import BgeM3Encoder, CrossEncoderReranker
from hybrid_core.export.folder import export_model
from training.out_of_domain import score_set

from .measure import hardware, table, write_section

_MODELS = Path(str(files("hybrid_core") / "models"))
_SETS = ("scifact", "xquad_en", "xquad_zh", "xquad_zh2en")


def open_all(work: Path) -> dict[str, tuple[BgeM3Encoder, CrossEncoderReranker]]:
    """Return both small models in every precision of both engines."""
    found = {}
    for precision in ("fp32", "int8"):
        models = [_MODELS / name for name in ("tiny_m3", "tiny_reranker")]
        found[f"torch {precision}"] = (
            BgeM3Encoder(models[0], device="cpu", precision=precision),
            CrossEncoderReranker(models[1], device="cpu", precision=precision),
        )
        paths = [
            export_model(model, work / f"{model.name}-{precision}", precision=precision).folder for model in models
        ]
        found[f"ONNX {precision}"] = BgeM3Encoder(paths[0]), CrossEncoderReranker(paths[1])
    return found


def main() -> None:
    """Score every set in every precision and write them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder of the sets")
    parser.add_argument("--sample", type=int, default=300, help="rerank about this many queries a set; 0 for none")
    arguments = parser.parse_args()
    sets = [arguments.data / name for name in _SETS if (arguments.data / name / "qrels.tsv").is_file()]
    for name in _SETS:
        if arguments.data / name not in sets:
            print(f"SKIPPED: {name} is not in {arguments.data}", file=sys.stderr)
    if not sets:
        raise SystemExit(1)
    tokenizer = Tokenizer.from_file(str(_MODELS / "tiny_m3" / "tokenizer.json"))
    rows = []
    with tempfile.TemporaryDirectory() as work:
        models = open_all(Path(work))
        for folder in sets:
            base: list[float] = []
            for name, (encoder, reranker) in models.items():
                chosen = reranker if arguments.sample else None
                scores = score_set(encoder, tokenizer, folder, 0.8, chosen, arguments.sample)
                values = [scores[side]["ndcg10"] for side in ("dense", "sparse", "weighted")]
                if chosen:
                    values.append(scores["rerank"]["reranked"])
                base = base or values
                changes = [f"{value:.4f} ({value / first - 1:+.1%})" for value, first in zip(values, base, strict=True)]
                rows.append([folder.name, name, *changes])
                print(*rows[-1], flush=True)
    heads = ["set", "engine", "dense", "sparse", "weighted"]
    note = f"{hardware()}. The small models; in brackets the change against torch fp32."
    if arguments.sample:
        heads.append("reranked")
        note += f" Reranked: the fused top 50 of about {arguments.sample} queries a set."
    body = table(heads, rows)
    write_section("What int8 costs in quality", f"{note}\n\n{body}")


if __name__ == "__main__":
    main()
