"""
# Walkthrough
"""
