"""One thread for each test process: the suite itself runs in parallel."""

import torch

torch.set_num_threads(1)
