"""Certificates: what they say, who signed them, whether they were public that day."""
