"""Files and directories that commands share: written whole, locked, named, and kept."""
