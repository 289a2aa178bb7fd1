"""`python -m ds_nowcast.doctor`: what would go wrong on the hosts of a launch, told before it."""
