"""Hostile uploads: ten thousand damaged archives, the full-sized bombs, and what the API pays."""
