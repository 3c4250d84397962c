"""Asserts of the judge in ``dpp_problems`` say what did not hold."""

import pytest

pytest.register_assert_rewrite("dpp_problems")
