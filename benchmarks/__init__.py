"""Speed and memory, side by side with what users would pick instead. Not installed with the package.

    python -m benchmarks.encode      documents and single queries: ours, FlagEmbedding
    python -m benchmarks.rerank      50 passages: ours, FlagReranker, CrossEncoder
    python -m benchmarks.serve       64 concurrent callers against one batch
    python -m benchmarks.memory      peak memory for 10,000 passages
    python -m benchmarks.precision   what int8 costs in quality, on public sets
    python -m benchmarks.padding     how much of the work is padding
    python -m benchmarks.budget      latency budgets: in time, scored, quality
    python -m benchmarks.store       ours, Chroma, Qdrant, Milvus on made-up vectors, each in processes of its own

Each makes the checkpoints that it needs (random weights in the released models' sizes: speed does not depend on what
the weights are), runs the systems in turns in one process (`store` each in its own), and writes its table into
RESULTS.md with the hardware.
"""
