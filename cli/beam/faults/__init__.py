"""The fault suite: a platform of its own, people on their way through it, things that die, and
afterwards the checks that nothing was lost, doubled or charged twice."""
