"""What runs beside a submission: it loads the code, calls it when the grader asks, and sends back what came out.

This package stands alone. A sandbox holds a copy of it and nothing else of gptdojo, so its modules import only each other, the
standard library, msgpack and torch. In self-study the same `Endpoint` runs in the learner's own process, so both places give
a property the same answers.
"""
