"""A capture with everything but the evidence taken out: plan.py says what stays, apply.py does it, prove.py checks it.

Deny by default: a byte that nothing names as evidence is written as zero, a packet that nothing names is not written.
"""
