"""An OpenID provider above ours, such as the national one, simulated."""
