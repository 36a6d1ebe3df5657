"""A class under nbgrader: its folder, what nbgrader gets to see of a submission, and the verdicts of the sandbox."""
