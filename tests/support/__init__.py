"""What several test files need: models in closed form, tiny runs, recorded cases."""
