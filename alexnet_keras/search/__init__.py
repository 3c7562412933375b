"""Images that are alike: a layer's features on disk, exact search in them, and short binary codes."""
