"""Rerankers that are language models: a prompt asks whether the text answers the query."""
