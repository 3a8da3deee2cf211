"""What the views show, each a pure function of a study's folder; nothing here trains, and drawing needs no torch."""
