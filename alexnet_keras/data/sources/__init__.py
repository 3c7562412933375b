"""Sources of images, one file for each kind; each makes a `source.Source`."""
