"""Encoders whose models run on a server."""

from .encoder import RemoteEncoder as RemoteEncoder
from .tei_sparse import TeiSparse as TeiSparse
