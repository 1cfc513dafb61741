"""The web service for volunteers: takes a capture, keeps the evidence, destroys the rest, and knows nobody.

store.py is the data folder, worker.py the analyses in processes of their own, web.py the pages, tus.py the resumable
upload, review.py the researcher's side.
"""
