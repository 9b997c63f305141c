"""What the stores on vector databases share; `stores/qdrant/` and `stores/milvus/` add the engine's own words."""
