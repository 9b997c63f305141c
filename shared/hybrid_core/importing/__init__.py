"""Taking over what another store holds.

    a Chroma folder ──copy──► ChromaCollection ──► pages of passages ──► check ──► write ──► HybridIndex

The folder itself is only ever copied from, never opened.
"""

from .chroma import ChromaCollection
from .transfer import ImportReport, check, import_chroma, write

__all__ = ["ChromaCollection", "ImportReport", "check", "import_chroma", "write"]
