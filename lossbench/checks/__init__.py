"""Checks of the bench itself: what it says of a component is held against what the component does.

`contracts` are the claims that every component of a kind must keep; `problems` have answers that
are known in closed form.
"""
