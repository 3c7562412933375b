"""The paper's experiments, and the systems that it compares with."""
