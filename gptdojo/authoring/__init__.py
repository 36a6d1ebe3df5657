"""From solutions/ to exercises/: what a chapter's notebooks hold, and what a learner did to one."""
