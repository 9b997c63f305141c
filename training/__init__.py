"""Trains the two small models of the package in the open: see README.md beside this file."""
