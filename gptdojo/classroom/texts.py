"""What `gptdojo init --class` writes into a class folder beside the course."""

CONFIG = '''\
"""How nbgrader works on this class. Submissions are graded in the sandbox of gptdojo, never in a kernel of nbgrader."""

import os
import sys
import warnings
from pathlib import Path

c = get_config()  # noqa: F821 (nbgrader provides it)
root = Path(__file__).resolve().parent

load_subconfig("course/nbgrader_config.py", path=str(root))  # noqa: F821 (what the course says of its stubs)
c.CourseDirectory.root = str(root)
c.CourseDirectory.course_id = root.name
c.CourseDirectory.source_directory = "source"
c.CourseDirectory.release_directory = "release"

# These read a submission, clean it and grade it. With nbgrader's own in their place, submitted code would run on this machine.
c.Autograde.exporter_class = "gptdojo.classroom.submitted.SubmittedNotebookExporter"
c.Autograde.autograde_preprocessors = [
    "gptdojo.classroom.sandboxed.SandboxGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.SandboxGrading.jobs = 2  # submissions at once; each takes up to 1 GiB of memory
c.SandboxGrading.timeout = 20.0  # seconds that an exercise may take
c.SandboxGrading.memory = 4096  # MiB that a submission may use
c.SandboxGrading.feedback = "full"  # what learners see: full, names or score

# nbgrader starts a program of its own by name; it lies where this Python has its programs.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
warnings.filterwarnings("ignore", "Object of type .* not in session")  # what nbgrader does with its database, at each learner
'''

README = """\
# A class

Run the commands in this folder. The chapter here is {chapter}; every chapter of the course is graded in the same way.

1. **Release.** `nbgrader generate_assignment {chapter}` writes release/{chapter}/, which is what learners get.
2. **Grade.** Put what they hand in into submitted/LEARNER/{chapter}/{notebook}, then run `nbgrader autograde {chapter}`.
3. **Return.** `nbgrader generate_feedback {chapter}` writes feedback/LEARNER/{chapter}/, a page for each learner,
   and `nbgrader export` writes grades.csv.

`jupyter lab` shows all of it under Nbgrader, Formgrader. `gptdojo grade submitted/ --jobs 2 --format nbgrader` puts the same
scores into the same gradebook without nbgrader's notebooks.

| here | what it is | who may see it |
|---|---|---|
| {seed} | the secret that every random input derives from: keep a copy, or scores cannot be repeated | you |
| course/ | the course as it was when this folder was made, solutions included | you |
| source/ | the notebooks with solutions, made from course/ | you |
| nbgrader_config.py | how nbgrader works here: limits, late penalties, what learners see | you |
| release/ | what learners get | learners |
| submitted/, autograded/, gradebook.db | what they handed in, as it was graded, and their scores | you |
| feedback/ | a page for each learner | that learner |

Submitted code runs in the sandbox only, as long as you use these commands. `nbgrader validate`, and *Run* in JupyterLab, run it
on this machine as you: do neither with a notebook from submitted/ or autograded/.
"""
