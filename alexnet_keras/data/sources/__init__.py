"""Sources: where images come from. One file a kind; each answers with a `source.Source`."""
