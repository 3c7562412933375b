"""How well a network does: the views it is tested on, and its errors."""
