"""Pictures with captions: where recipes get them, and the flags that say so."""
