"""``python -m xai_fast`` is ``xai-fast``."""

from xai_fast.cli import main

raise SystemExit(main())
