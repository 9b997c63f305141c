"""What the stores on vector databases share; `stores/qdrant.py` and `stores/milvus.py` add the engine's own words."""
