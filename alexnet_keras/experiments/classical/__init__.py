"""The two classical systems that the paper's table 1 compares with: sparse coding, and SIFT with Fisher vectors."""
