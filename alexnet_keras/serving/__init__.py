"""A live page of a run (extra `serve`): classes, heat map, first layer's maps and neighbours of any image."""
