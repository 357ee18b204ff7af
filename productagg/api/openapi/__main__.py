"""`python -m productagg.api.openapi FILE` writes the document of this version to a file. For `make openapi`."""

import json
import sys
from pathlib import Path

from productagg.api import SERVICES
from productagg.api.openapi.document import document

if __name__ == "__main__":
    text = json.dumps(document(SERVICES), ensure_ascii=False, indent=2)
    Path(sys.argv[1]).write_text(f"{text}\n", "utf-8")
