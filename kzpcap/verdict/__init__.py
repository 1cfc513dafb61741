"""Conclusions: facts, rules in order, the judge."""
