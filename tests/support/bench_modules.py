"""A module that calls a given function, and the size of its maps."""

import torch
from torch import nn

SMALL = (2, 16, 6, 5)


class Made(nn.Module):
    """Module whose forward pass calls a given function."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.function(self, x)
