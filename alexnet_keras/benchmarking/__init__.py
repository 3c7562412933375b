"""How fast this project is on a machine, next to what the machine can do: `alexnet benchmark`."""
