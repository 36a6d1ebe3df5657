# must: builder
# must: score=0
# must: status=failed
"""A folder with a torch.py, a conftest.py, a sitecustomize.py and a .pth file of its own."""


def build(folder):
    mine = folder / "mine"
    mine.mkdir()
    for name in (
        "torch.py",
        "msgpack.py",
        "conftest.py",
        "sitecustomize.py",
        "usercustomize.py",
        "gptdojo.py",
        "reference.py",
    ):
        (mine / name).write_text("raise SystemExit('imported')\n")
    (mine / "evil.pth").write_text("import os; os._exit(0)\n")
    (mine / "answer.py").write_text("import torch\n\n\ndef count_vowels(text):\n    return int(torch.tensor(-1))\n")
    return mine / "answer.py"
