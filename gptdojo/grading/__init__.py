"""Grading for others: submissions are untrusted, run in processes of their own, and are judged out here."""
