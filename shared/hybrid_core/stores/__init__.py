"""Where passages and their vectors are kept and searched."""
