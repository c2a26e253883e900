"""Patients as codes, and draws of another image of the same patient."""

import numpy as np
import torch
from scipy.stats import chisquare

from imssl.groups import GroupMembers, anonymous_codes


def test_codes_are_equal_where_the_names_are_and_tell_no_order():
    names = np.array([f"{i // 3:03d}" for i in range(300)])
    codes = anonymous_codes(names, seed=0)
    assert codes.dtype == torch.int64
    assert sorted(set(codes.tolist())) == list(range(100))
    assert np.array_equal(codes[:, None] == codes, names[:, None] == names)
    assert abs(np.corrcoef(np.arange(300), codes.numpy())[0, 1]) < 0.3
    assert torch.equal(codes, anonymous_codes(names, seed=0))
    assert not torch.equal(codes, anonymous_codes(names, seed=1))


def test_another_image_is_of_the_group_and_each_is_as_likely():
    groups = torch.tensor([5, 2, 5, 9, 2, 5, 5])
    members, draws = GroupMembers.of(groups), torch.Generator().manual_seed(0)
    index = torch.arange(7).repeat(3000)
    others = members.another(index, draws)
    counts = np.zeros((7, 7))
    np.add.at(counts, (index.numpy(), others.numpy()), 1)
    expected = (groups[:, None] == groups).numpy() & ~np.eye(7, dtype=bool)
    expected[3, 3] = True  # a group of one
    assert np.array_equal(counts > 0, expected)
    for row in (0, 2, 5, 6):
        assert chisquare(counts[row][expected[row]]).pvalue > 1e-3


def test_draws_are_those_of_the_generator():
    members = GroupMembers.of(torch.arange(100) // 5)
    index = torch.tensor([99, 0, 42])
    first, second = (members.another(index, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
