"""The paper's figures, tables and claims, each as an experiment that runs."""
