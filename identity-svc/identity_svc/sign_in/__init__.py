"""The ways to register and to sign in beside a password, and what a person does with them."""
